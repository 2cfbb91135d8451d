import { useVirtualizer } from "@tanstack/react-virtual";
import { type KeyboardEvent, memo, useEffect, useMemo, useRef } from "react";
import type { Fact } from "../api/client";
import { Icon, type IconName } from "../ui/icons";
import { clock, duration } from "../ui/time";
import classes from "./replay.module.css";
import type { Step } from "./steps";

interface ReplayTimelineProps {
  steps: readonly Step[];
  /** Index of the selected step; -1 for none. */
  selected: number;
  onSelect: (seq: number) => void;
}

/** A pause longer than this, in milliseconds, is worth a line of its own. */
const PAUSE = 30_000;

/** All steps in order. Only those in sight are drawn, so ten thousand are as quick as ten. */
export function ReplayTimeline({ steps, selected, onSelect }: ReplayTimelineProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({
    count: steps.length,
    getScrollElement: () => scroller.current,
    estimateSize: (index) => {
      const step = steps[index];
      return (step?.bar ? 62 : 52) + ((step?.gap ?? 0) > PAUSE ? 30 : 0);
    },
    getItemKey: (index) => steps[index]?.seq ?? index,
    overscan: 8,
  });
  const longest = useMemo(
    () => steps.reduce((most, { bar }) => Math.max(most, bar ? bar.waited + bar.took : 0), 1),
    [steps],
  );
  useEffect(() => {
    if (selected >= 0) rows.scrollToIndex(selected, { align: "auto" });
  }, [rows, selected]);

  const onKeyDown = (event: KeyboardEvent) => {
    const to = {
      ArrowDown: selected + 1,
      ArrowUp: selected - 1,
      Home: 0,
      End: steps.length - 1,
      PageDown: selected + 10,
      PageUp: selected - 10,
    }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const step = steps[Math.min(Math.max(to, 0), steps.length - 1)];
    if (step !== undefined) onSelect(step.seq);
  };

  const current = steps[selected];
  return (
    <div
      ref={scroller}
      className={classes.timeline}
      role="listbox"
      aria-label="Steps"
      tabIndex={0}
      aria-activedescendant={current === undefined ? undefined : `step-${current.seq}`}
      onKeyDown={onKeyDown}
    >
      <div role="presentation" style={{ height: rows.getTotalSize(), position: "relative" }}>
        {rows.getVirtualItems().map((row) => {
          const step = steps[row.index];
          if (step === undefined) return null;
          return (
            <div
              key={row.key}
              ref={rows.measureElement}
              data-index={row.index}
              role="presentation"
              className={classes.slot}
              style={{ transform: `translateY(${row.start}px)` }}
            >
              {step.gap > PAUSE && (
                <p role="presentation" className={classes.pause}>
                  {duration(step.gap)} later
                </p>
              )}
              <Row
                step={step}
                position={row.index + 1}
                count={steps.length}
                selected={row.index === selected}
                longest={longest}
                onSelect={onSelect}
              />
            </div>
          );
        })}
      </div>
    </div>
  );
}

const ICONS: Record<Fact["type"], IconName> = {
  message_received: "person",
  turn_opened: "right",
  turn_taken_over: "right",
  tool_called: "tool",
  attempt_made: "arrow",
  tool_returned: "check",
  call_resolved: "check",
  approval_asked: "question",
  approval_decided: "check",
  consent_given: "check",
  consent_revoked: "cross",
  model_switched: "right",
  turn_parked: "clock",
  message_finished: "chat",
  agent_changed: "right",
  connection_asked: "lock",
  handoff_asked: "question",
  person_took_over: "person",
  person_answered: "chat",
  given_back: "arrow",
  turn_closed: "stop",
  thread_resolved: "check",
  thread_abandoned: "clock",
};

interface RowProps {
  step: Step;
  position: number;
  count: number;
  selected: boolean;
  longest: number;
  onSelect: (seq: number) => void;
}

const Row = memo(function Row({ step, position, count, selected, longest, onSelect }: RowProps) {
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the listbox takes the keys for all its options
    // biome-ignore lint/a11y/useFocusableInteractive: focus stays on the listbox (aria-activedescendant)
    <div
      id={`step-${step.seq}`}
      role="option"
      aria-selected={selected}
      aria-posinset={position}
      aria-setsize={count}
      className={classes.row}
      data-tone={step.tone}
      data-depth={step.depth}
      onClick={() => onSelect(step.seq)}
    >
      <span className={classes.when} title={clock(step.at)}>
        +{duration(step.offset)}
      </span>
      <span className={classes.mark}>
        <Icon name={step.failed ? "warning" : (ICONS[step.fact.type] ?? "right")} size={15} />
      </span>
      <span className={classes.words}>
        <span className={classes.stepTitle}>{step.title}</span>
        <span className={classes.detail}>{step.detail}</span>
        {step.bar && <Bar {...step.bar} longest={longest} />}
      </span>
    </div>
  );
});

/** How long an attempt took, after how long a wait (hatched), against the longest of the thread. */
function Bar({ waited, took, longest }: { waited: number; took: number; longest: number }) {
  const share = (part: number) => `${Math.min(100, (part / longest) * 100)}%`;
  return (
    <span className={classes.barLine}>
      <span className={classes.track} aria-hidden="true">
        {waited > 0 && <span className={classes.waited} style={{ width: share(waited) }} />}
        <span className={classes.took} style={{ width: share(took) }} />
      </span>
      <span className={classes.barWords}>
        {waited > 0 && `waited ${duration(waited)}, `}took {duration(took)}
      </span>
    </span>
  );
}
