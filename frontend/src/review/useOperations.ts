import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback } from "react";
import { type Api, type Operation, useSession } from "../api/client";

const PAGE = 500;

async function allOperations(api: Api, specId: string, signal: AbortSignal): Promise<Operation[]> {
  const operations: Operation[] = [];
  let after: string | null = "";
  while (after !== null) {
    const query: { limit: number; after?: string } = after
      ? { limit: PAGE, after }
      : { limit: PAGE };
    const answer = await api.client.GET("/api/specs/{spec_id}/operations", {
      params: { path: { spec_id: specId }, query },
      signal,
    });
    if (answer.data === undefined) throw answer.error;
    operations.push(...answer.data.operations);
    const next: string | null = answer.data.next_after;
    after = next;
  }
  return operations;
}

/** All operations of a document, and a way to put in those that have just been decided. */
export function useOperations(specId: string) {
  const { api } = useSession();
  const queries = useQueryClient();
  const operations = useQuery({
    queryKey: ["operations", specId],
    queryFn: ({ signal }) => allOperations(api, specId, signal),
  });
  const patch = useCallback(
    (decided: readonly Operation[]) => {
      const now = new Map(decided.map((operation) => [operation.id, operation]));
      queries.setQueryData<Operation[]>(["operations", specId], (before) =>
        before?.map((operation) => now.get(operation.id) ?? operation),
      );
    },
    [queries, specId],
  );
  return { operations, patch };
}
