import { Button, Textarea } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { type DryRunResult, problemOf, useSession } from "../api/client";
import { ProblemBanner } from "../ui/ErrorBanner";
import classes from "./review.module.css";

/** The exact request for some arguments, shown and not sent. */
export function DryRun({ operationId }: { operationId: string }) {
  const { api } = useSession();
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState<string | null>(null);
  const run = useMutation({
    mutationFn: async (wanted: Record<string, unknown> | null) => {
      const { data, error } = await api.client.POST("/api/operations/{operation_id}/dry-run", {
        params: { path: { operation_id: operationId } },
        body: { arguments: wanted },
      });
      if (data === undefined) throw error;
      return data;
    },
    onSuccess: (shown) => setText(JSON.stringify(shown.arguments, null, 2)),
  });
  const show = () => {
    const wanted = parsed(text);
    setWrong(wanted === undefined ? "Write a JSON object, or nothing to have one made up." : null);
    if (wanted !== undefined) run.mutate(wanted);
  };
  return (
    <details className={classes.fold}>
      <summary>
        Dry run <span className={classes.quiet}>the exact request; nothing is sent</span>
      </summary>
      <Textarea
        label="Arguments, as the model gives them"
        placeholder="Empty: made up from the schema"
        description="What is filled from the customer is that of a sample customer."
        autosize
        minRows={2}
        maxRows={12}
        error={wrong}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <Button
        size="compact-sm"
        variant="default"
        mt={8}
        mb={8}
        disabled={run.isPending}
        onClick={show}
      >
        Show the request
      </Button>
      {run.isError && <ProblemBanner problem={problemOf(run.error)} />}
      {run.data !== undefined && !run.isError && <Request shown={run.data} />}
    </details>
  );
}

function Request({ shown }: { shown: DryRunResult }) {
  const head = [
    `${shown.method} ${shown.url}`,
    ...shown.headers.map(({ name, value }) => `${name}: ${value}`),
  ];
  return (
    <pre className={classes.request} role="region" aria-label="The request" tabIndex={0}>
      {[...head, ...(shown.body === null ? [] : ["", shown.body])].join("\n")}
    </pre>
  );
}

/** The object that `text` holds, null for none, undefined if it is something else. */
function parsed(text: string): Record<string, unknown> | null | undefined {
  if (text.trim() === "") return null;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
