import { Button, TextInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import type { FormEvent } from "react";
import { type Credentials, useSession } from "../api/client";
import { ProblemBanner } from "../ui/ErrorBanner";
import classes from "./credentials.module.css";
import { useChange } from "./useCredentials";

interface EnvironmentsProps {
  specId: string;
  environments: Credentials["environments"];
}

/** The installations of an API, such as its sandbox: where each is, and which one is called. */
export function Environments({ specId, environments }: EnvironmentsProps) {
  const { api } = useSession();
  const queries = useQueryClient();
  const { problem, busy, change } = useChange(specId);
  const put = async (environment: string, base_url: string | null, choose: boolean) => {
    const made = await change(() =>
      api.client.PUT("/api/specs/{spec_id}/environments/{environment}", {
        params: { path: { spec_id: specId, environment } },
        body: { base_url, choose },
      }),
    );
    // The head of the page says where calls go.
    if (made) await queries.invalidateQueries({ queryKey: ["get", "/api/specs/{spec_id}"] });
    return made;
  };
  const save = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const target = event.currentTarget;
    const form = new FormData(target);
    const text = (name: string) => String(form.get(name) ?? "").trim();
    if (await put(text("environment"), text("base_url"), false)) target.reset();
  };
  return (
    <>
      <h3>Environments</h3>
      <ul className={classes.list} aria-label="Environments">
        {environments.map(({ name, base_url, active }) => (
          <li key={name} className={classes.one}>
            <div className={classes.head}>
              <strong>{name}</strong>
              {active ? (
                <span className={classes.state}>Is called</span>
              ) : (
                <Button
                  size="compact-xs"
                  variant="default"
                  loading={busy}
                  aria-label={`Call ${name}`}
                  onClick={() => void put(name, null, true)}
                >
                  Call
                </Button>
              )}
            </div>
            <p className={classes.facts}>{base_url ?? "Nobody has said where it is."}</p>
          </li>
        ))}
      </ul>
      <form className={classes.form} onSubmit={(event) => void save(event)} autoComplete="off">
        <TextInput
          name="environment"
          label="Environment, new or known"
          placeholder="sandbox"
          pattern="[a-z0-9][a-z0-9\-]{0,39}"
          required
          autoComplete="off"
        />
        <TextInput
          name="base_url"
          type="url"
          label="Where it is"
          placeholder="https://sandbox.example.com/v1"
          required
          autoComplete="off"
        />
        <div>
          <Button size="xs" type="submit" loading={busy}>
            Save the address
          </Button>
        </div>
      </form>
      {problem && <ProblemBanner problem={problem} />}
    </>
  );
}
