import { Button, Skeleton } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { type DecisionBatch, problemOf, useSession } from "../api/client";
import { EmptyState } from "../ui/EmptyState";
import { ProblemBanner } from "../ui/ErrorBanner";
import { dayAndTime, plural } from "../ui/time";
import classes from "./review.module.css";
import { SidePanel } from "./SidePanel";
import { STATE_WORDS } from "./words";

interface HistoryDrawerProps {
  specId: string;
  opened: boolean;
  busy: boolean;
  onClose: () => void;
  onUndo: (batchId: string) => void;
}

/** Who decided what, when and why; what nobody has touched since can be taken back. */
export function HistoryDrawer({ specId, opened, busy, onClose, onUndo }: HistoryDrawerProps) {
  return (
    <SidePanel title="Decisions" opened={opened} onClose={onClose}>
      {opened && <Batches specId={specId} busy={busy} onUndo={onUndo} />}
    </SidePanel>
  );
}

function Batches({ specId, busy, onUndo }: Pick<HistoryDrawerProps, "specId" | "busy" | "onUndo">) {
  const { api } = useSession();
  const decisions = useQuery({
    queryKey: ["decisions", specId],
    queryFn: async ({ signal }) => {
      const { data, error } = await api.client.GET("/api/specs/{spec_id}/decisions", {
        params: { path: { spec_id: specId } },
        signal,
      });
      if (data === undefined) throw error;
      return data.batches;
    },
  });
  if (decisions.isError)
    return (
      <ProblemBanner problem={problemOf(decisions.error)} retry={() => void decisions.refetch()} />
    );
  if (decisions.data === undefined)
    return <Skeleton height={160} radius="md" aria-label="Loading decisions" />;
  if (decisions.data.length === 0)
    return <EmptyState icon="clock" title="Nobody has decided anything yet" />;
  return (
    <ol className={classes.history}>
      {decisions.data.map((batch) => (
        <li key={batch.batch_id}>
          <span>
            <strong>{what(batch)}</strong>
            <br />
            {batch.by}, {dayAndTime(batch.at)}
            {batch.reason && !batch.undoes && <q className={classes.why}>{batch.reason}</q>}
          </span>
          {batch.undoable && (
            <Button
              size="compact-xs"
              variant="default"
              disabled={busy}
              aria-label={`Undo: ${what(batch)}`}
              onClick={() => onUndo(batch.batch_id)}
            >
              Undo
            </Button>
          )}
        </li>
      ))}
    </ol>
  );
}

function what({ states, count, first_key, undoes }: DecisionBatch): string {
  const verb = undoes ? "Taken back" : states.map((state) => STATE_WORDS[state]).join(", ");
  return `${verb}: ${count === 1 ? first_key : plural(count, "operation")}`;
}
