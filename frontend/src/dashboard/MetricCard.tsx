import { Button, Skeleton } from "@mantine/core";
import type { ReactNode } from "react";
import { Icon } from "../ui/icons";
import { DrillLink } from "./DrillLink";
import classes from "./dashboard.module.css";
import { type Comparison, compare, type Metric } from "./figures";

/** What the period before has to say: it is awaited, could not be had, or is there. */
export type Before = "loading" | "failed" | readonly Metric[];

export interface MetricCardProps {
  metric: Metric;
  before: "loading" | "failed" | Metric;
  start: string;
  end: string;
}

/** One figure: the number as a link, what it is made of, and how it was in the period before. */
export function MetricCard({ metric, before, start, end }: MetricCardProps) {
  return (
    <Card title={metric.title}>
      <p className={classes.value}>
        <DrillLink linked={metric} start={start} end={end} />
      </p>
      <p className={classes.details}>
        {metric.measured
          ? metric.details.map((detail, index) =>
              typeof detail === "string" ? (
                detail
              ) : (
                // biome-ignore lint/suspicious/noArrayIndexKey: the parts never change places
                <DrillLink key={index} linked={detail} start={start} end={end} />
              ),
            )
          : metric.none}
      </p>
      <Delta before={before} metric={metric} />
    </Card>
  );
}

function Delta({ metric, before }: Pick<MetricCardProps, "metric" | "before">) {
  if (before === "loading") return <Skeleton height={14} width={120} mt={6} />;
  if (before === "failed")
    return <p className={classes.delta}>The previous period could not be loaded</p>;
  const comparison = compare(metric, before);
  return (
    <p
      className={classes.delta}
      data-judgement={comparison.state === "changed" ? comparison.judgement : "neutral"}
    >
      {words(comparison)}
    </p>
  );
}

const JUDGEMENTS = { good: " (better)", bad: " (worse)", neutral: "" };

function words(comparison: Comparison): ReactNode {
  if (comparison.state === "none") return "No comparison";
  if (comparison.state === "same") return "As in the previous period";
  const { direction, words, judgement } = comparison;
  return (
    <>
      <Icon name={direction} size={14} />
      <strong>
        {direction === "up" ? "Up" : "Down"} {words}
        {JUDGEMENTS[judgement]}
      </strong>{" "}
      on the previous period
    </>
  );
}

/** The place of a figure that is not there yet. */
export function LoadingCard({ title }: { title: string }) {
  return (
    <Card title={title} busy>
      <Skeleton height={34} width="55%" mt={4} />
      <Skeleton height={12} width="80%" mt={12} />
    </Card>
  );
}

/** The place of a figure that could not be had. */
export function FailedCard({ title, retry }: { title: string; retry: () => void }) {
  return (
    <Card title={title}>
      <p className={classes.failed}>
        <Icon name="warning" size={16} /> Could not be loaded
      </p>
      <Button
        size="compact-sm"
        variant="default"
        onClick={retry}
        aria-label={`Try again: ${title}`}
        className={classes.again}
      >
        Try again
      </Button>
    </Card>
  );
}

function Card({ title, busy, children }: { title: string; busy?: boolean; children: ReactNode }) {
  return (
    <section className={classes.card} aria-label={title} aria-busy={busy}>
      <h2 className={classes.cardTitle}>{title}</h2>
      {children}
    </section>
  );
}
