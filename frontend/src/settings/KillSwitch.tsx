import { Button, Group, NativeSelect, TextInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { problemOf, useSession } from "../api/client";
import type { components } from "../api/schema.gen";
import { ProblemBanner } from "../ui/ErrorBanner";
import { Icon } from "../ui/icons";
import { dayAndTime } from "../ui/time";
import classes from "./settings.module.css";

type Stop = components["schemas"]["Stop"];

const PATH = "/api/stops";

/** What is switched off; an operator switches off and on. */
export function KillSwitch() {
  const { api, me } = useSession();
  const queries = useQueryClient();
  const [reason, setReason] = useState("");
  const [what, setWhat] = useState("");
  const again = {
    onSettled: () => queries.invalidateQueries({ queryKey: ["get", PATH] }),
    onSuccess: () => setReason(""),
  };
  const stops = api.query.useQuery("get", PATH, {}, { refetchInterval: 15_000 });
  const specs = api.query.useQuery("get", "/api/specs");
  const off = api.query.useMutation("post", PATH, again);
  const on = api.query.useMutation("post", `${PATH}/{stop_id}/lift`, again);
  const standing = stops.data?.stops.filter(({ lifted_at }) => lifted_at === null) ?? [];
  const failed = [off, on].find(({ isError }) => isError);
  const operator = me.role === "operator";
  if (!operator && standing.length === 0) return null;
  const missing = reason.trim() === "";
  const busy = off.isPending || on.isPending;
  return (
    <section aria-label="Kill switch">
      <h2 className={classes.heading}>Kill switch</h2>
      {standing.length === 0 ? (
        <p className={classes.note}>
          Nothing is switched off. Single operations: smart-support switch-off.
        </p>
      ) : (
        <ul className={classes.list}>
          {standing.map((stop) => (
            <li key={stop.id} className={classes.row} data-status="failing">
              <span className={classes.state}>
                <Icon name="stop" />
                Off
              </span>
              <Standing stop={stop} />
              {operator && (
                <Button
                  size="compact-sm"
                  variant="default"
                  disabled={missing || busy}
                  aria-label={`Switch on ${stop.title} again`}
                  onClick={() =>
                    on.mutate({
                      params: { path: { stop_id: stop.id } },
                      body: { reason: reason.trim() },
                    })
                  }
                >
                  Switch on
                </Button>
              )}
            </li>
          ))}
        </ul>
      )}
      {operator && (
        <Group gap={8} align="end" mt="sm">
          <NativeSelect
            size="sm"
            label="What"
            value={what}
            onChange={(event) => setWhat(event.currentTarget.value)}
            data={[
              { value: "", label: "Everything" },
              ...(specs.data?.specs ?? []).map(({ id, name }) => ({ value: id, label: name })),
            ]}
          />
          <TextInput
            size="sm"
            label="Why"
            maxLength={500}
            value={reason}
            onChange={(event) => setReason(event.currentTarget.value)}
          />
          <Button
            size="sm"
            color="red"
            disabled={missing || busy}
            onClick={() =>
              off.mutate({
                body: {
                  scope: what === "" ? "everything" : "api",
                  target: what === "" ? null : what,
                  reason: reason.trim(),
                },
              })
            }
          >
            Switch off now
          </Button>
        </Group>
      )}
      {failed !== undefined && <ProblemBanner problem={problemOf(failed.error)} />}
    </section>
  );
}

function Standing({ stop }: { stop: Stop }) {
  return (
    <span className={classes.what}>
      <strong>{stop.title}</strong>
      <span className={classes.reason}>
        {stop.reason} ({stop.stopped_by}, {dayAndTime(stop.stopped_at)})
      </span>
    </span>
  );
}
