import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useRef, useState } from "react";
import {
  type Conflict,
  type Operation,
  type OperationDecision,
  type Problem,
  problemOf,
  useSession,
} from "../api/client";

/** How long what was decided can be taken back with one key, in milliseconds. */
const UNDO_FOR = 10_000;

export type Change = Omit<OperationDecision, "operation_id" | "version">;

export interface Notice {
  text: string;
  /** What `undo` takes back; null once it is taken back. */
  batchId: string | null;
}

/** Deciding and taking back, and what came of it. */
export function useDecisions(specId: string, patch: (decided: readonly Operation[]) => void) {
  const { api } = useSession();
  const queries = useQueryClient();
  const [notice, setNotice] = useState<Notice | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [conflicts, setConflicts] = useState<ReadonlyMap<string, Conflict>>(new Map());
  const [busy, setBusy] = useState(false);
  const going = useRef(false);

  useEffect(() => {
    if (notice === null) return;
    const timer = setTimeout(() => setNotice(null), UNDO_FOR);
    return () => clearTimeout(timer);
  }, [notice]);

  const run = useCallback(
    async (
      send: () => Promise<{
        data?: { batch_id: string; operations: Operation[] } | undefined;
        error?: unknown;
      }>,
      words: (count: number) => string,
      undoable: boolean,
    ): Promise<boolean> => {
      // A second decision before the answer to the first would be made on an old version.
      if (going.current) return false;
      going.current = true;
      setBusy(true);
      setProblem(null);
      try {
        const { data, error } = await send();
        if (data === undefined) throw error;
        patch(data.operations);
        setConflicts(new Map());
        setNotice({
          text: words(data.operations.length),
          batchId: undoable ? data.batch_id : null,
        });
        void queries.invalidateQueries({ queryKey: ["decisions", specId] });
        return true;
      } catch (failure) {
        const said = problemOf(failure);
        setProblem(said);
        if (said.conflicts !== undefined) {
          setConflicts(new Map(said.conflicts.map((one) => [one.operation_id, one])));
          void queries.invalidateQueries({ queryKey: ["operations", specId] });
        }
        return false;
      } finally {
        going.current = false;
        setBusy(false);
      }
    },
    [patch, queries, specId],
  );

  const decide = useCallback(
    (decisions: OperationDecision[], words: (count: number) => string) =>
      run(
        () =>
          api.client.POST("/api/specs/{spec_id}/decisions", {
            params: { path: { spec_id: specId } },
            body: { decisions },
          }),
        words,
        true,
      ),
    [api, run, specId],
  );
  const undo = useCallback(
    (batchId: string) =>
      run(
        () =>
          api.client.POST("/api/reviews/{batch_id}/undo", {
            params: { path: { batch_id: batchId } },
          }),
        (count) => (count === 1 ? "Taken back." : `Taken back for ${count} operations.`),
        false,
      ),
    [api, run],
  );
  return {
    decide,
    undo,
    busy,
    notice,
    problem,
    conflicts,
    forgetProblem: () => {
      setProblem(null);
      setConflicts(new Map());
    },
  };
}
