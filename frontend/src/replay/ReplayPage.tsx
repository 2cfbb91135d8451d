import { Button, Kbd, Loader, SegmentedControl, Text } from "@mantine/core";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useCallback, useEffect, useMemo } from "react";
import { isMissing, problemOf } from "../api/client";
import { EmptyState } from "../ui/EmptyState";
import { ProblemBanner } from "../ui/ErrorBanner";
import frame from "../ui/frame.module.css";
import { Icon } from "../ui/icons";
import { StatusBadge } from "../ui/StatusBadge";
import { dayAndTime, plural } from "../ui/time";
import { usePageTitle } from "../ui/usePageTitle";
import { asSeen } from "./as-seen";
import { DeskPanel } from "./DeskPanel";
import { ReplayTimeline } from "./ReplayTimeline";
import classes from "./replay.module.css";
import { SeenTranscript } from "./SeenTranscript";
import { StepDetails } from "./StepDetails";
import { failureFrom, failureLine, stepsOf } from "./steps";
import { useReplay } from "./useReplay";

/** A conversation read back, attempt by attempt. Opens on what failed. */
export function ReplayPage() {
  const { threadId } = useParams({ from: "/lead/replay/$threadId" });
  const search = useSearch({ from: "/lead/replay/$threadId" });
  const navigate = useNavigate({ from: "/replay/$threadId" });
  const { replay, events, thread, complete, news, refresh } = useReplay(threadId);
  usePageTitle(thread?.title || "Replay");

  const steps = useMemo(() => stepsOf(events), [events]);
  const failures = useMemo(() => steps.filter((step) => step.failed), [steps]);
  const result = useMemo(
    () =>
      steps.findLast(
        ({ fact }) => fact.type === "tool_returned" && fact.tool_call_id === search.call,
      ),
    [steps, search.call],
  );
  // A call that was asked for may still be among what is loading.
  const first = search.call !== undefined && !complete ? 0 : (failures[0]?.seq ?? steps[0]?.seq);
  const wanted = search.step ?? result?.seq ?? first ?? 0;
  const index = useMemo(() => steps.findIndex((step) => step.seq === wanted), [steps, wanted]);
  const selected = steps[index];
  const note = useMemo(() => {
    const asked = events.findLast(({ fact }) => fact.type === "handoff_asked")?.fact;
    return asked?.type === "handoff_asked" ? asked.note : "";
  }, [events]);
  const desk = thread?.handling?.with_person === true;
  // Who is about to answer reads the conversation, until a step is asked for.
  const asked = search.step !== undefined || search.call !== undefined;
  const seen = search.view === "seen" || (desk && !asked);

  const choose = useCallback(
    (seq: number) =>
      void navigate({
        search: (now) => ({ ...now, step: seq }),
        replace: true,
        resetScroll: false,
      }),
    [navigate],
  );
  const move = useCallback(
    (by: number) => {
      const next = steps[Math.min(Math.max(index + by, 0), steps.length - 1)];
      if (next !== undefined) choose(next.seq);
    },
    [steps, index, choose],
  );
  const jump = useCallback(
    (direction: 1 | -1) => {
      const failure = failureFrom(failures, wanted, direction);
      if (failure !== null) choose(failure.seq);
    },
    [failures, wanted, choose],
  );
  useKeys(move, jump);

  if (replay.isPending)
    return (
      <main className={frame.page}>
        <Loader className={classes.loader} aria-label="Loading the conversation" />
      </main>
    );
  if (replay.isError && events.length === 0) {
    const problem = problemOf(replay.error);
    return (
      <main className={frame.page}>
        {isMissing(problem) ? (
          <EmptyState order={1} icon="search" title="There is no such conversation">
            The link may be incomplete.
          </EmptyState>
        ) : (
          <div className={frame.column}>
            <h1 className={frame.hidden}>Replay</h1>
            <ProblemBanner problem={problem} retry={() => void replay.refetch()} />
          </div>
        )}
      </main>
    );
  }
  const total = events.length;
  const failure = selected?.failed ? selected : failures[0];

  return (
    <main className={classes.replay}>
      <header className={classes.head}>
        <div className={classes.headLine}>
          <Link to="/replay" className={classes.back} aria-label="All conversations">
            <Icon name="back" />
          </Link>
          <div className={classes.headText}>
            <h1 className={classes.title}>{thread?.title || "Without a message"}</h1>
            <p className={classes.facts}>
              {thread && <StatusBadge status={thread.status} />}
              <span>{thread?.customer.name}</span>
              {thread && <span>{dayAndTime(thread.opened_at)}</span>}
              {complete && <span>{plural(total, "step")}</span>}
              {!complete && <span role="status">{plural(total, "step")} so far, loading…</span>}
            </p>
          </div>
          <Text size="xs" c="var(--text-quiet)" className={classes.keys}>
            <Kbd>j</Kbd> <Kbd>k</Kbd> step · <Kbd>e</Kbd> <Kbd>⇧e</Kbd> error
          </Text>
        </div>
        {failure !== undefined && (
          <div className={classes.failure}>
            <Icon name="warning" size={18} />
            <span>{failureLine(steps, failure, total)}</span>
            <span className={classes.failureCount}>{plural(failures.length, "failed step")}</span>
            <Button.Group>
              <Button
                size="compact-sm"
                variant="default"
                aria-label="Previous error"
                onClick={() => jump(-1)}
              >
                <Icon name="up" size={16} />
              </Button>
              <Button
                size="compact-sm"
                variant="default"
                aria-label="Next error"
                onClick={() => jump(1)}
              >
                <Icon name="down" size={16} />
              </Button>
            </Button.Group>
          </div>
        )}
        {replay.isError && (
          <ProblemBanner
            problem={problemOf(replay.error)}
            retry={() => void replay.fetchNextPage()}
          />
        )}
      </header>
      {steps.length === 0 ? (
        <EmptyState icon="replay" title="Nothing has happened yet">
          The conversation was opened, but nobody has written.
        </EmptyState>
      ) : (
        <div className={classes.panes} data-desk={desk}>
          <ReplayTimeline steps={steps} selected={index} onSelect={choose} />
          <section className={classes.pane} aria-label="Beside the steps">
            <SegmentedControl
              fullWidth
              size="sm"
              aria-label="What to show beside the steps"
              data={[
                { value: "details", label: "Step" },
                { value: "seen", label: "What the customer saw" },
              ]}
              value={seen ? "seen" : "details"}
              onChange={(value) =>
                void navigate({
                  search: (now) =>
                    value === "seen"
                      ? { ...now, view: "seen" as const }
                      : { step: now.step ?? wanted },
                  replace: true,
                  resetScroll: false,
                })
              }
            />
            {seen ? (
              <Seen events={events} follow={desk} />
            ) : selected !== undefined ? (
              <StepDetails step={selected} steps={steps} onSelect={choose} />
            ) : complete ? (
              <EmptyState icon="search" title={`There is no step ${wanted}`}>
                Choose one from the list.
              </EmptyState>
            ) : (
              <Loader className={classes.loader} aria-label="Loading the step" />
            )}
          </section>
        </div>
      )}
      {news.isError && <ProblemBanner problem={problemOf(news.error)} />}
      {thread && complete && <DeskPanel thread={thread} note={note} refresh={refresh} />}
    </main>
  );
}

function Seen({ events, follow }: { events: Parameters<typeof asSeen>[0]; follow: boolean }) {
  const items = useMemo(() => asSeen(events), [events]);
  return <SeenTranscript items={items} follow={follow} />;
}

/** j and k go by step, e and Shift+e by error; never while something is being typed. */
function useKeys(move: (by: number) => void, jump: (direction: 1 | -1) => void) {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target instanceof Element && event.target.closest("input, textarea, select"))
        return;
      if (event.key === "j") move(1);
      else if (event.key === "k") move(-1);
      else if (event.key === "e") jump(1);
      else if (event.key === "E") jump(-1);
      else return;
      event.preventDefault();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [move, jump]);
}
