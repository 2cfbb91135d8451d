import { Button, TextInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { problemOf, type SchemeCredential, useSession } from "../api/client";
import { ProblemBanner } from "../ui/ErrorBanner";
import classes from "./credentials.module.css";
import { keyOf } from "./useCredentials";

const RESULTS = {
  accepted: "Accepted",
  refused: "Refused",
  unreachable: "Not reachable",
  unclear: "Neither accepted nor refused",
} as const;

const PATH = "/api/specs/{spec_id}/credentials/{scheme}/test";

/** Tries a credential out with a read, or with the server that gives tokens. */
export function CredentialTest({ specId, scheme }: { specId: string; scheme: SchemeCredential }) {
  const { api } = useSession();
  const queries = useQueryClient();
  const [operation, setOperation] = useState("");
  const test = api.query.useMutation("post", PATH, {
    // It is known now whether calls fail for want of it.
    onSettled: () => queries.invalidateQueries({ queryKey: keyOf(specId) }),
  });
  const token = scheme.flow === "clientCredentials";
  const ask = (event: FormEvent) => {
    event.preventDefault();
    test.mutate({
      params: { path: { spec_id: specId, scheme: scheme.name } },
      body: { operation: operation.trim() || null },
    });
  };
  return (
    <form className={classes.form} onSubmit={ask} aria-label={`Test of ${scheme.name}`}>
      <TextInput
        label="With this read"
        description={
          token
            ? "Left empty, a token is asked for."
            : "Left empty, an approved read that needs no arguments is called."
        }
        placeholder="GET /orders"
        value={operation}
        onChange={(event) => setOperation(event.currentTarget.value)}
      />
      <div>
        <Button size="xs" type="submit" loading={test.isPending}>
          Send it
        </Button>
      </div>
      {test.isError && <ProblemBanner problem={problemOf(test.error)} />}
      {test.data && (
        <p className={classes.facts} role="status">
          <strong>{RESULTS[test.data.result]}</strong> by {test.data.asked}. {test.data.said}{" "}
          Correlation id <code>{test.data.correlation_id}</code>
        </p>
      )}
    </form>
  );
}
