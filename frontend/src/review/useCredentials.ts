import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { type Credentials, type Problem, problemOf } from "../api/client";

export const keyOf = (specId: string) => ["credentials", specId];

type Answered = Promise<{ data?: Credentials; error?: unknown }>;

/** Sends a change and shows what became of it; true if it was made. */
export function useChange(specId: string) {
  const queries = useQueryClient();
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const change = async (send: () => Answered) => {
    setBusy(true);
    const { data, error } = await send().catch((failure: unknown) => ({
      data: undefined,
      error: failure,
    }));
    setBusy(false);
    setProblem(data === undefined ? problemOf(error) : null);
    if (data !== undefined) queries.setQueryData(keyOf(specId), data);
    return data !== undefined;
  };
  return { problem, busy, change };
}
