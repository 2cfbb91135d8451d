import { Button, Group, TextInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { problemOf, useSession } from "../api/client";
import { ProblemBanner } from "../ui/ErrorBanner";
import classes from "./replay.module.css";

/** What a lead found out about a call whose outcome nobody knows, and how they know. */
export function ResolveCall({ callId }: { callId: string }) {
  const { api } = useSession();
  const queries = useQueryClient();
  const [remark, setRemark] = useState("");
  const resolve = api.query.useMutation("post", "/api/tool-calls/{call_id}/resolve", {
    // A refusal, too, means that something has changed.
    onSettled: () => queries.invalidateQueries(),
  });
  const say = (resolution: "done" | "not_done") =>
    resolve.mutate({
      params: { path: { call_id: callId } },
      body: { resolution, remark: remark.trim() },
    });
  const off = remark.trim() === "" || resolve.isPending;
  return (
    <form
      className={classes.remark}
      aria-label="What became of this call"
      onSubmit={(event) => event.preventDefault()}
    >
      <TextInput
        label="Nobody knows whether it took effect. Look in the company's system: how do you know?"
        description="For leads and agents. The customer is told the outcome only."
        value={remark}
        maxLength={1_000}
        onChange={(event) => setRemark(event.currentTarget.value)}
      />
      <Group gap={8}>
        <Button size="sm" disabled={off} onClick={() => say("done")}>
          It was done
        </Button>
        <Button size="sm" variant="default" disabled={off} onClick={() => say("not_done")}>
          It was not done
        </Button>
      </Group>
      {resolve.isError && <ProblemBanner problem={problemOf(resolve.error)} />}
    </form>
  );
}
