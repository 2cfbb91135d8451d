/** What the cards and tables show, from what the server counted. Pure. */

import type { paths } from "../api/schema.gen";
import type { FigureName } from "../ui/figures";
import { duration } from "../ui/time";
import type { Cell } from "./csv";

type Answer<Path extends keyof paths> = paths[Path] extends {
  get: { responses: { 200: { content: { "application/json": infer Body } } } };
}
  ? Body
  : never;

export type Cohort = Answer<"/api/dashboard/cohort">["cohort"];
export type Activity = Answer<"/api/dashboard">["activity"];
export type Operation = Activity["operations"][number];
export type Point = Answer<"/api/dashboard/series">["points"][number];

export type Unit = "count" | "share" | "ms" | "ratio";

/** A number, and the list that it opens: `counts` is the total of that list. */
export interface Linked {
  value: number | null;
  unit: Unit;
  figure: FigureName;
  dimension?: string;
  counts: number;
}

export interface Metric extends Linked {
  title: string;
  /** Which way is good; null where more is neither. */
  better: "more" | "less" | null;
  /** Said beside the number: words and further numbers. */
  details: readonly (string | Linked)[];
  /** Whether the period had anything that this could be measured on. */
  measured: boolean;
  none: string;
}

function count(figure: FigureName, counts: number, dimension?: string): Linked {
  return {
    value: counts,
    unit: "count",
    figure,
    counts,
    ...(dimension === undefined ? {} : { dimension }),
  };
}

export function cohortMetrics(cohort: Cohort): Metric[] {
  const { conversations, handled } = cohort;
  return [
    {
      title: "Conversations",
      ...count("conversations", conversations),
      better: null,
      details: [
        count("handled", handled),
        " handled, ",
        count("abandoned", cohort.abandoned),
        " abandoned, ",
        count("reopened", cohort.reopened),
        " reopened",
      ],
      measured: conversations > 0,
      none: "None were opened",
    },
    {
      title: "Auto-resolution rate",
      ...count("resolved_alone", cohort.resolved_alone),
      value: cohort.auto_resolution_rate,
      unit: "share",
      better: "more",
      details: [
        count("resolved_alone", cohort.resolved_alone),
        " of ",
        count("handled", handled),
        " handled; ",
        count("resolved", cohort.resolved),
        " resolved in all",
      ],
      measured: handled > 0,
      none: "Nothing was handled",
    },
    {
      title: "Handoff rate",
      ...count("handed_off", cohort.handed_off),
      value: cohort.handoff_rate,
      unit: "share",
      better: "less",
      details: [
        count("handed_off", cohort.handed_off),
        " of ",
        count("handled", handled),
        " handled",
      ],
      measured: handled > 0,
      none: "Nothing was handled",
    },
    {
      title: "First answer, median",
      ...count("answered", cohort.answered),
      value: cohort.median_first_reply_ms,
      unit: "ms",
      better: "less",
      details: [count("answered", cohort.answered), " answered conversations"],
      measured: cohort.answered > 0,
      none: "Nothing was answered",
    },
  ];
}

export function activityMetrics(activity: Activity): Metric[] {
  const { response, approvals } = activity;
  const responses = count("response_ms", response.answered);
  return [
    {
      title: "Response time, median",
      ...responses,
      value: response.median_ms,
      unit: "ms",
      better: "less",
      details: ["over ", responses, " responses"],
      measured: response.answered > 0,
      none: "Nothing was answered",
    },
    {
      title: "Response time, p95",
      ...responses,
      value: response.p95_ms,
      unit: "ms",
      better: "less",
      details: ["19 of 20 were at least as fast"],
      measured: response.answered > 0,
      none: "Nothing was answered",
    },
    {
      title: "Tool error rate",
      ...count("tool_errors", activity.tool_errors),
      value: activity.tool_error_rate,
      unit: "share",
      better: "less",
      details: [
        count("tool_errors", activity.tool_errors),
        " errors in ",
        count("tool_calls", activity.tool_calls),
        " calls",
      ],
      measured: activity.tool_error_rate !== null,
      none: "No call has ended",
    },
    {
      title: "Retries",
      ...count("retries", activity.retries),
      better: "less",
      details: ["of HTTP requests, in ", count("tool_calls", activity.tool_calls), " calls"],
      measured: activity.tool_calls > 0,
      none: "No tool was called",
    },
    {
      title: "Approvals asked",
      ...count("approvals_asked", approvals.asked),
      better: null,
      details: [
        count("approvals_approved", approvals.approved),
        " approved, ",
        count("approvals_rejected", approvals.rejected),
        " declined, ",
        count("approvals_expired", approvals.expired),
        " expired",
      ],
      measured: approvals.asked + approvals.approved + approvals.rejected + approvals.expired > 0,
      none: "None was asked for",
    },
    {
      title: "Failed turns",
      ...count("turns_failed", activity.failed),
      better: "less",
      details: [
        "beside ",
        count("turns_done", activity.turns_done),
        " done, ",
        count("turns_cancelled", activity.turns_cancelled),
        " cancelled",
      ],
      measured: activity.failed + activity.turns_done + activity.turns_cancelled > 0,
      none: "No turn has ended",
    },
    {
      title: "Messages",
      ...count("messages", activity.messages),
      better: null,
      details: [count("replies", activity.replies), " answers"],
      measured: activity.messages > 0,
      none: "Nobody wrote",
    },
    {
      title: "Tokens",
      ...count("tokens", activity.tokens),
      better: null,
      details: [
        count("input_tokens", activity.input_tokens),
        " read, ",
        count("output_tokens", activity.output_tokens),
        " written",
      ],
      measured: activity.tokens > 0,
      none: "None were used",
    },
  ];
}

/** Whether nothing at all was counted. */
export function isQuiet(cohort: Cohort, activity: Activity): boolean {
  return cohort.conversations === 0 && activityMetrics(activity).every(({ measured }) => !measured);
}

const WHOLE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat("en-GB", {
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});
const RATIO = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 2 });

export function shown(value: number | null, unit: Unit): string {
  if (value === null) return "–";
  switch (unit) {
    case "count":
      return WHOLE.format(value);
    case "share":
      return `${TENTHS.format(value * 100)} %`;
    case "ms":
      return duration(value);
    case "ratio":
      return RATIO.format(value);
  }
}

export type Comparison =
  | { state: "none" }
  | { state: "same" }
  | { state: "changed"; words: string; direction: "up" | "down"; judgement: Judgement };
export type Judgement = "good" | "bad" | "neutral";

/** How a metric differs from the period before; shares by points, the rest by per cent. */
export function compare(now: Metric, then: Metric): Comparison {
  if (now.value === null || then.value === null || !now.measured || !then.measured)
    return { state: "none" };
  const difference = now.value - then.value;
  const words =
    now.unit === "share"
      ? `${TENTHS.format(Math.abs(difference) * 100)} points`
      : then.value === 0
        ? shown(Math.abs(difference), now.unit)
        : `${WHOLE.format((Math.abs(difference) / then.value) * 100)} %`;
  if (difference === 0 || /^0(\.0)? /.test(words)) return { state: "same" };
  const direction = difference > 0 ? "up" : "down";
  const judgement =
    now.better === null
      ? "neutral"
      : (direction === "up") === (now.better === "more")
        ? "good"
        : "bad";
  return { state: "changed", words, direction, judgement };
}

export interface Shown {
  start: string;
  end: string;
  cohort: Cohort | null;
  activity: Activity | null;
  cohortBefore: Cohort | null;
  activityBefore: Activity | null;
  points: readonly Point[] | null;
}

/** All that is on the screen, as the rows of one table. */
export function rowsOf(shown: Shown): Cell[][] {
  const { cohort, activity, points } = shown;
  const rows: Cell[][] = [
    ["section", "figure", "of", "value", "unit", "previous period", "start", "end"],
  ];
  const range = [shown.start, shown.end] as const;
  const metrics = (now: Metric[], then: Metric[] | null) => {
    for (const [index, metric] of now.entries())
      rows.push(
        [
          "card",
          metric.title,
          "",
          metric.value,
          metric.unit,
          then?.[index]?.value ?? null,
          ...range,
        ],
        ...metric.details
          .filter((detail) => typeof detail !== "string")
          .map((detail): Cell[] => [
            "card",
            metric.title,
            detail.figure,
            detail.value,
            detail.unit,
            null,
            ...range,
          ]),
      );
  };
  if (cohort) {
    metrics(cohortMetrics(cohort), shown.cohortBefore && cohortMetrics(shown.cohortBefore));
    for (const [reason, number] of byCount(cohort.handoff_reasons))
      rows.push(["handoff reasons", "handed_off", reason, number, "count", null, ...range]);
  }
  if (activity) {
    metrics(
      activityMetrics(activity),
      shown.activityBefore && activityMetrics(shown.activityBefore),
    );
    for (const [code, number] of byCount(activity.turns_failed))
      rows.push(["failed turns", "turns_failed", code, number, "count", null, ...range]);
    for (const operation of activity.operations)
      for (const { name, unit } of OPERATION_COLUMNS)
        rows.push(["operations", name, operation.operation, operation[name], unit, null, ...range]);
  }
  for (const point of points ?? [])
    for (const { name, unit } of POINT_COLUMNS)
      rows.push(["over time", name, "", point[name], unit, null, point.start, point.end]);
  return rows;
}

interface OperationColumn {
  name: Exclude<keyof Operation, "operation">;
  title: string;
  unit: Unit;
  figure: FigureName;
  /** The column that the linked list adds up to. */
  counts: "calls" | "done" | "errors" | "declined" | "attempts" | "retries";
}

export const OPERATION_COLUMNS: readonly OperationColumn[] = [
  { name: "calls", title: "Calls", unit: "count", figure: "tool_calls", counts: "calls" },
  { name: "done", title: "Done", unit: "count", figure: "tool_calls_done", counts: "done" },
  { name: "errors", title: "Errors", unit: "count", figure: "tool_errors", counts: "errors" },
  {
    name: "error_rate",
    title: "Error rate",
    unit: "share",
    figure: "tool_errors",
    counts: "errors",
  },
  {
    name: "declined",
    title: "Declined",
    unit: "count",
    figure: "tool_calls_declined",
    counts: "declined",
  },
  { name: "retries", title: "Retries", unit: "count", figure: "retries", counts: "retries" },
  {
    name: "retries_per_call",
    title: "Per call",
    unit: "ratio",
    figure: "retries",
    counts: "retries",
  },
  {
    name: "mean_attempt_ms",
    title: "Request, mean",
    unit: "ms",
    figure: "attempts",
    counts: "attempts",
  },
];

interface PointColumn {
  name: Exclude<keyof Point, "start" | "end">;
  title: string;
  unit: Unit;
  figure: FigureName;
}

export const POINT_COLUMNS: readonly PointColumn[] = [
  { name: "opened", title: "Opened", unit: "count", figure: "conversations_opened" },
  { name: "resolved", title: "Resolved", unit: "count", figure: "conversations_resolved" },
  { name: "handed_off", title: "Handed off", unit: "count", figure: "handoffs" },
  { name: "replies", title: "Answers", unit: "count", figure: "replies" },
  { name: "median_ms", title: "Median", unit: "ms", figure: "response_ms" },
  { name: "p95_ms", title: "p95", unit: "ms", figure: "response_ms" },
  { name: "failed", title: "Failed turns", unit: "count", figure: "turns_failed" },
  { name: "tool_calls", title: "Tool calls", unit: "count", figure: "tool_calls" },
  { name: "tool_errors", title: "Tool errors", unit: "count", figure: "tool_errors" },
  { name: "retries", title: "Retries", unit: "count", figure: "retries" },
  { name: "approvals_asked", title: "Approvals", unit: "count", figure: "approvals_asked" },
  { name: "input_tokens", title: "Tokens in", unit: "count", figure: "input_tokens" },
  { name: "output_tokens", title: "Tokens out", unit: "count", figure: "output_tokens" },
];

/** Names and numbers, the largest first. */
export function byCount(numbers: Record<string, number>): [string, number][] {
  return Object.entries(numbers).sort(
    ([one, first], [other, second]) => second - first || one.localeCompare(other),
  );
}
