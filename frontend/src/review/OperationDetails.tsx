import { Button, Skeleton, Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { memo } from "react";
import { type Operation, type OperationDetail, problemOf, useSession } from "../api/client";
import { ProblemBanner } from "../ui/ErrorBanner";
import { Icon } from "../ui/icons";
import { Json } from "../ui/Json";
import { dayAndTime, plural } from "../ui/time";
import { Changes } from "./Changes";
import { Correction, type Draft } from "./Correction";
import { DryRun } from "./DryRun";
import { EvidencePane } from "./EvidencePane";
import { Grounds } from "./Grounds";
import classes from "./review.module.css";
import type { Change } from "./useDecisions";
import { bytes, inShort, Key, STATE_WORDS, StateMark } from "./words";

interface OperationDetailsProps {
  operation: Operation;
  agents: readonly string[];
  draft: Draft;
  busy: boolean;
  onDraft: (id: string, draft: Draft) => void;
  onDecide: (operation: Operation, state: Change["state"]) => void;
  onUndo: (batchId: string) => unknown;
  onBack: () => void;
}

/** One operation: the suggestion with its reasons, the document's lines, and the decision. */
export const OperationDetails = memo(function OperationDetails(props: OperationDetailsProps) {
  const { operation, onUndo, onBack, onDraft, onDecide, ...correction } = props;
  const { api } = useSession();
  // Whoever walks through the list does not ask for everything that is passed.
  const [settled] = useDebouncedValue(operation, 150);
  const shown = settled.id === operation.id ? operation : settled;
  const detail = useQuery({
    queryKey: ["operation", shown.id, shown.version],
    queryFn: async ({ signal }) => {
      const { data, error } = await api.client.GET("/api/operations/{operation_id}", {
        params: { path: { operation_id: shown.id } },
        signal,
      });
      if (data === undefined) throw error;
      return data;
    },
    placeholderData: keepPreviousData,
  });
  const here = shown.id === operation.id;
  const known = here && detail.data?.id === operation.id ? detail.data : undefined;
  return (
    <section className={classes.details} aria-label="Operation">
      <header className={classes.detailsHead}>
        <Button
          className={classes.backToList}
          variant="subtle"
          size="compact-sm"
          leftSection={<Icon name="back" size={16} />}
          onClick={onBack}
        >
          List
        </Button>
        <h2 className={classes.detailsTitle}>
          <Key method={operation.method} path={operation.path} />
        </h2>
        <Text size="sm">{operation.summary}</Text>
        <p className={classes.facts}>
          <StateMark state={operation.state} />
          {operation.decided_by !== null && operation.decided_at !== null && (
            <span>
              by {operation.decided_by}, {dayAndTime(operation.decided_at)}
            </span>
          )}
          {operation.deprecated && <span>deprecated</span>}
          {operation.tags.map((tag) => (
            <span key={tag}>#{tag}</span>
          ))}
        </p>
        {operation.state !== "approved" && (
          <p className={classes.quiet}>
            <Icon name="lock" size={14} /> Not approved, so the agent cannot call it.
          </p>
        )}
      </header>
      {known !== undefined && <Changes changes={known.changes} />}
      <div className={classes.sideBySide}>
        <div className={classes.column}>
          <h3 className={classes.subtitle}>Suggested: {inShort(operation.suggestion)}</h3>
          {here ? (
            <Grounds operation={operation} />
          ) : (
            <Skeleton height={48} radius="md" aria-label="Loading the reasons" />
          )}
          {operation.state === "removed" ? (
            <p className={classes.quiet}>
              The document does not have it any more: there is nothing to decide.
            </p>
          ) : (
            <Correction
              key={operation.id}
              operation={operation}
              detail={known}
              onDraft={(draft) => onDraft(operation.id, draft)}
              onDecide={(state) => onDecide(operation, state)}
              {...correction}
            />
          )}
        </div>
        <div className={classes.column}>
          <h3 className={classes.subtitle}>In the document</h3>
          {here ? (
            <EvidencePane
              operationId={operation.id}
              version={operation.version}
              reasons={operation.suggestion.reasons}
            />
          ) : (
            <Skeleton height={220} radius="md" aria-label="Loading the document's lines" />
          )}
        </div>
      </div>
      {detail.isError ? (
        <ProblemBanner problem={problemOf(detail.error)} retry={() => void detail.refetch()} />
      ) : known === undefined ? (
        <Skeleton height={48} radius="md" aria-label="Loading the tool" />
      ) : (
        <>
          <details className={classes.fold}>
            <summary>
              The tool as the model sees it{" "}
              <span className={classes.quiet}>
                {bytes(known.schema_bytes)}, about {plural(known.tokens, "token")}
              </span>
            </summary>
            <p className={classes.quiet}>
              <code>{known.tool_name}</code> – {known.description}
            </p>
            <Json value={known.tool_schema} label="Schema of the arguments" />
          </details>
          {operation.state !== "removed" && (
            <DryRun key={`${operation.id} ${operation.version}`} operationId={operation.id} />
          )}
          <Decisions history={known.history} busy={props.busy} onUndo={onUndo} />
        </>
      )}
    </section>
  );
});

interface DecisionsProps {
  history: OperationDetail["history"];
  busy: boolean;
  onUndo: (batchId: string) => unknown;
}

function Decisions({ history, busy, onUndo }: DecisionsProps) {
  if (history.length === 0) return <p className={classes.quiet}>Nobody has decided yet.</p>;
  return (
    <div>
      <h3 className={classes.subtitle}>Decisions</h3>
      <ol className={classes.history}>
        {history.toReversed().map((past, index) => (
          <li key={past.batch_id}>
            <span>
              <strong>{past.undoes ? "Taken back" : STATE_WORDS[past.state]}</strong> by {past.by},{" "}
              {dayAndTime(past.at)}: {inShort(past.classification)}
              {past.reason && !past.undoes && <q className={classes.why}>{past.reason}</q>}
            </span>
            {index === 0 && (
              <Button
                size="compact-xs"
                variant="default"
                disabled={busy}
                onClick={() => onUndo(past.batch_id)}
              >
                Undo
              </Button>
            )}
          </li>
        ))}
      </ol>
    </div>
  );
}
