import { Button, Kbd, Loader } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useCallback, useDeferredValue, useEffect, useMemo, useRef, useState } from "react";
import {
  isMissing,
  type Operation,
  type OperationDecision,
  problemOf,
  useSession,
} from "../api/client";
import { EmptyState } from "../ui/EmptyState";
import { ErrorBanner, ProblemBanner } from "../ui/ErrorBanner";
import frame from "../ui/frame.module.css";
import { Icon } from "../ui/icons";
import { plural } from "../ui/time";
import { usePageTitle } from "../ui/usePageTitle";
import { VisuallyHidden } from "../ui/VisuallyHidden";
import { type Draft, isChanged, withAccess } from "./Correction";
import { Filters } from "./Filters";
import { choices, type Grouped, grouped, isWaiting, rowsOf } from "./groups";
import { HistoryDrawer } from "./HistoryDrawer";
import { OperationDetails } from "./OperationDetails";
import { OperationList } from "./OperationList";
import classes from "./review.module.css";
import { SecondOpinion } from "./SecondOpinion";
import { SelectionBar } from "./SelectionBar";
import { SidePanel } from "./SidePanel";
import { SpecHead } from "./SpecHead";
import type { ReviewSearch } from "./search";
import { type Change, useDecisions } from "./useDecisions";
import { type Action, KEYS, useKeys } from "./useKeys";
import { useOperations } from "./useOperations";

const NO_DRAFT: Draft = {};

/** The review of one document. */
export function ReviewPage() {
  const { specId } = useParams({ from: "/operator/review/$specId" });
  const { api } = useSession();
  const spec = api.query.useQuery("get", "/api/specs/{spec_id}", {
    params: { path: { spec_id: specId } },
  });
  const { operations, patch } = useOperations(specId);
  usePageTitle(spec.data?.name ?? "Review");
  const failure = spec.error ?? operations.error;
  if (failure && (spec.data === undefined || operations.data === undefined)) {
    const problem = problemOf(failure);
    return (
      <main className={frame.page}>
        {isMissing(problem) ? (
          <EmptyState order={1} icon="search" title="There is no such document">
            The link may be incomplete.
          </EmptyState>
        ) : (
          <div className={frame.column}>
            <h1 className={frame.hidden}>Review</h1>
            <ProblemBanner
              problem={problem}
              retry={() => {
                void spec.refetch();
                void operations.refetch();
              }}
            />
          </div>
        )}
      </main>
    );
  }
  if (spec.data === undefined || operations.data === undefined)
    return (
      <main className={frame.page}>
        <Loader className={classes.loader} aria-label="Loading the operations" />
      </main>
    );
  if (operations.data.length === 0)
    return (
      <main className={classes.review}>
        <SpecHead spec={spec.data} left={null} total={0}>
          {null}
        </SpecHead>
        <EmptyState icon="list" title="There is nothing to review">
          The document has no operation that can be used.
        </EmptyState>
      </main>
    );
  return <Review key={specId} spec={spec.data} operations={operations.data} patch={patch} />;
}

interface ReviewProps {
  spec: Parameters<typeof SpecHead>[0]["spec"];
  operations: readonly Operation[];
  patch: (decided: readonly Operation[]) => void;
}

function Review({ spec, operations, patch }: ReviewProps) {
  const search = useSearch({ from: "/operator/review/$specId" });
  const navigate = useNavigate({ from: "/review/$specId" });
  const { decide, undo, busy, notice, problem, conflicts, forgetProblem } = useDecisions(
    spec.id,
    patch,
  );
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [draft, setDraft] = useState<{ id: string; draft: Draft }>({ id: "", draft: {} });
  const [panel, setPanel] = useState<"history" | "keys" | null>(null);
  const [left, setLeft] = useState("");
  const anchor = useRef<string | null>(null);
  const searchField = useRef<HTMLInputElement>(null);

  const go = useCallback(
    (more: ReviewSearch) =>
      void navigate({
        search: (now) => ({ ...now, ...more }),
        replace: true,
        resetScroll: false,
      }),
    [navigate],
  );
  const groups = useMemo(() => grouped(operations, search), [operations, search]);
  const rows = useMemo(() => rowsOf(groups, search.group), [groups, search.group]);
  const visible = useMemo(
    () => rows.flatMap((row) => (row.kind === "operation" ? [row.operation] : [])),
    [rows],
  );
  const all = useMemo(() => choices(operations), [operations]);
  const waiting = useMemo(() => operations.filter(isWaiting).length, [operations]);
  const [place, setPlace] = usePlace(search.op, go);
  const current = operations.find(({ id }) => id === place) ?? visible[0];
  const selected = useMemo(
    () => operations.filter(({ id }) => chosen.has(id)),
    [operations, chosen],
  );
  const ownDraft = draft.id === current?.id ? draft.draft : NO_DRAFT;
  // The list follows a held key at once; what stands beside it follows when there is time.
  const shown = useDeferredValue(current);

  const move = setPlace;
  const open = useCallback(
    (id: string) => {
      setPlace(id);
      go({ op: id, open: true });
    },
    [go, setPlace],
  );
  const step = (by: number) => {
    const at = visible.findIndex(({ id }) => id === current?.id);
    const next = visible[Math.min(Math.max(at + by, 0), visible.length - 1)];
    if (next !== undefined) move(next.id);
  };
  const choose = useCallback(
    (id: string, range: boolean) => {
      const from = visible.findIndex((each) => each.id === (range ? anchor.current : id));
      const to = visible.findIndex((each) => each.id === id);
      anchor.current = id;
      setChosen((before) => {
        const now = new Set(before);
        if (range && from >= 0)
          for (const each of visible.slice(Math.min(from, to), Math.max(from, to) + 1))
            now.add(each.id);
        else if (!now.delete(id)) now.add(id);
        return now;
      });
    },
    [visible],
  );
  const chooseGroup = useCallback(
    ({ operations }: Grouped) =>
      setChosen((before) => new Set([...before, ...operations.map(({ id }) => id)])),
    [],
  );

  /** Decides about these at once, goes on to what comes behind them, and says what was left. */
  const send = async (
    about: readonly Operation[],
    change: (operation: Operation) => Change | null,
    words: (count: number) => string,
  ) => {
    const decisions = about.flatMap((operation): OperationDecision[] => {
      const wanted = operation.state === "removed" ? null : change(operation);
      return wanted === null
        ? []
        : [{ ...wanted, operation_id: operation.id, version: operation.version }];
    });
    const kept = about.length - decisions.length;
    setLeft(
      kept > 0
        ? `${plural(kept, "operation")} left as they were: they always ask the customer, or are gone.`
        : "",
    );
    if (decisions.length === 0) return;
    const ids = new Set(decisions.map(({ operation_id }) => operation_id));
    const at = visible.findIndex(({ id }) => id === current?.id);
    const next =
      visible.slice(at).find(({ id }) => !ids.has(id)) ?? visible.find(({ id }) => !ids.has(id));
    const settled = decisions.some(({ state }) => state !== "pending");
    if (!(await decide(decisions, words))) return;
    setDraft({ id: "", draft: {} });
    if (!settled) return;
    setChosen(new Set());
    if (next !== undefined && current !== undefined && ids.has(current.id)) move(next.id);
  };

  const keyed = () => (selected.length > 0 ? selected : current ? [current] : []);
  const name = (about: readonly Operation[], count: number) =>
    count === 1 && about.length === 1 ? (about[0]?.key ?? "") : plural(count, "operation");
  const settle = (about: readonly Operation[], state: Change["state"], more: Draft = {}) => {
    const verb = { approved: "Approved", rejected: "Rejected", pending: "Kept waiting:" }[state];
    return send(
      about,
      () => ({ ...more, state }),
      (count) => `${verb} ${name(about, count)}.`,
    );
  };
  const correct = (about: readonly Operation[], lowers: boolean, more: Draft) =>
    send(
      about,
      ({ state, suggestion }) =>
        lowers && suggestion.confirm_locked
          ? null
          : { ...more, state: state === "approved" || state === "rejected" ? state : "pending" },
      (count) => `Corrected ${name(about, count)}.`,
    );
  const approveGroup = (group: Grouped) => void settle(group.operations, "approved");

  const act = (action: Action) => {
    const about = keyed();
    switch (action) {
      case "next":
        return step(1);
      case "previous":
        return step(-1);
      case "choose":
        return current && choose(current.id, false);
      case "range":
        return current && choose(current.id, true);
      case "approve":
        return void settle(about, "approved", selected.length > 0 ? {} : ownDraft);
      case "read":
        return void correct(about, true, withAccess("read"));
      case "write":
        return void correct(about, false, withAccess("write"));
      case "confirm": {
        const confirm = !about.every(({ classification }) => classification.confirm);
        return void correct(about, !confirm, { confirm });
      }
      case "undo":
        return notice?.batchId && void undo(notice.batchId);
      case "search":
        return searchField.current?.focus();
      case "clear":
        return setChosen(new Set());
      case "help":
        return setPanel("keys");
    }
  };
  useKeys(act);

  const onDraft = useCallback((id: string, next: Draft) => setDraft({ id, draft: next }), []);
  const onBack = useCallback(() => go({ open: undefined }), [go]);
  const decideOne = useRef((_: Operation, __: Change["state"]) => {});
  useEffect(() => {
    decideOne.current = (operation, state) =>
      void settle([operation], state, trimmed(draft.id === operation.id ? draft.draft : NO_DRAFT));
  });
  const onDecide = useCallback(
    (operation: Operation, state: Change["state"]) => decideOne.current(operation, state),
    [],
  );

  return (
    <main className={classes.review} data-open={search.open === true && current !== undefined}>
      <SpecHead spec={spec} left={waiting} total={operations.length}>
        <div className={classes.headActions}>
          <SecondOpinion specId={spec.id} />
          <Button
            size="compact-sm"
            variant="default"
            leftSection={<Icon name="clock" size={15} />}
            onClick={() => setPanel("history")}
          >
            History
          </Button>
          <Button
            className={classes.keysButton}
            size="compact-sm"
            variant="default"
            aria-label="Keys"
            onClick={() => setPanel("keys")}
          >
            <Kbd>?</Kbd>
          </Button>
        </div>
      </SpecHead>
      {problem !== null && (
        <div className={classes.banner}>
          <ErrorBanner
            title={problem.title}
            code={problem.code}
            correlationId={problem.correlation_id}
            onClose={forgetProblem}
          >
            {problem.conflicts === undefined
              ? problem.detail
              : `${conflictWords(problem.conflicts)} Nothing of yours was changed; the list is up to date again.`}
          </ErrorBanner>
        </div>
      )}
      <div className={classes.panes}>
        <div className={classes.listPane}>
          <Filters
            filter={search}
            groups={groups}
            choices={all}
            searchField={searchField}
            onFilter={go}
          />
          {selected.length > 0 && (
            <SelectionBar
              count={selected.length}
              busy={busy}
              onApprove={(reason) => void settle(selected, "approved", { reason: reason || null })}
              onReject={(reason) => void settle(selected, "rejected", { reason })}
              onAccess={(access) => void correct(selected, access === "read", withAccess(access))}
              onClear={() => setChosen(new Set())}
            />
          )}
          {rows.length === 0 ? (
            <EmptyState
              icon="search"
              title="Nothing matches this filter"
              action={
                <Button
                  variant="default"
                  onClick={() => void navigate({ search: {}, replace: true })}
                >
                  Show all operations
                </Button>
              }
            />
          ) : (
            <OperationList
              rows={rows}
              current={current?.id}
              chosen={chosen}
              conflicts={conflicts}
              busy={busy}
              onOpen={open}
              onMove={move}
              onChoose={choose}
              onChooseGroup={chooseGroup}
              onApproveGroup={approveGroup}
            />
          )}
        </div>
        {shown !== undefined && (
          <OperationDetails
            operation={shown}
            agents={all.agents}
            draft={draft.id === shown.id ? draft.draft : NO_DRAFT}
            busy={busy}
            onDraft={onDraft}
            onDecide={onDecide}
            onUndo={undo}
            onBack={onBack}
          />
        )}
      </div>
      <div className={classes.toast} role="status" data-shown={notice !== null}>
        {notice !== null && (
          <>
            <span>
              {notice.text} {left}
            </span>
            {notice.batchId !== null && (
              <Button
                size="compact-sm"
                variant="default"
                disabled={busy}
                onClick={() => void undo(notice.batchId ?? "")}
              >
                Undo <Kbd ml={6}>u</Kbd>
              </Button>
            )}
          </>
        )}
      </div>
      <VisuallyHidden aria-live="polite">{notice === null ? left : ""}</VisuallyHidden>
      <HistoryDrawer
        specId={spec.id}
        opened={panel === "history"}
        busy={busy}
        onClose={() => setPanel(null)}
        onUndo={(batchId) => void undo(batchId)}
      />
      <SidePanel title="Keys" opened={panel === "keys"} onClose={() => setPanel(null)}>
        <dl className={classes.keys}>
          {KEYS.map(([key, words]) => (
            <div key={key}>
              <dt>
                <Kbd>{key}</Kbd>
              </dt>
              <dd>{words}</dd>
            </div>
          ))}
        </dl>
      </SidePanel>
    </main>
  );
}

/**
 * The operation that is looked at. The address follows once the walk pauses: changing it for each
 * step would be slower than a held key.
 */
function usePlace(op: string | undefined, go: (more: ReviewSearch) => void) {
  const [place, setPlace] = useState(op);
  const told = useRef(op);
  const tell = useDebouncedCallback((id: string) => {
    told.current = id;
    go({ op: id });
  }, 200);
  useEffect(() => {
    if (op === told.current) return;
    told.current = op;
    setPlace(op);
  }, [op]);
  const move = useCallback(
    (id: string) => {
      setPlace(id);
      tell(id);
    },
    [tell],
  );
  return [place, move] as const;
}

function trimmed(draft: Draft): Draft {
  const { reason, ...others } = draft;
  return {
    ...(isChanged(others) ? others : {}),
    ...(reason?.trim() ? { reason: reason.trim() } : {}),
  };
}

function conflictWords(
  conflicts: readonly { key: string; decided_by: string | null; state: string }[],
) {
  const who = conflicts
    .slice(0, 3)
    .map(
      ({ key, decided_by, state }) =>
        `${decided_by ?? "A new import"} changed ${key} (now ${state}).`,
    );
  const more = conflicts.length > 3 ? [`And ${conflicts.length - 3} more.`] : [];
  return [...who, ...more].join(" ");
}
