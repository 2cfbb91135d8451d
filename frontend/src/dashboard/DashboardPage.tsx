import { Button, Skeleton, Title } from "@mantine/core";
import { keepPreviousData } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { lazy, Suspense } from "react";
import { problemOf, useSession } from "../api/client";
import { EmptyState } from "../ui/EmptyState";
import { ErrorBanner, ProblemBanner } from "../ui/ErrorBanner";
import { span } from "../ui/figures";
import frame from "../ui/frame.module.css";
import { usePageTitle } from "../ui/usePageTitle";
import { csvOf, download } from "./csv";
import classes from "./dashboard.module.css";
import { ErrorsSection } from "./Errors";
import { activityMetrics, cohortMetrics, isQuiet, type Metric, rowsOf } from "./figures";
import { FailedCard, LoadingCard, MetricCard } from "./MetricCard";
import { Paused } from "./Paused";
import { RangeSelector } from "./RangeSelector";
import { before, type DashboardSearch, type Range, rangeOf } from "./range";
import { Breakdown, Operations, OverTime } from "./Tables";

const Charts = lazy(() => import("./Charts").then(({ Charts }) => ({ default: Charts })));

const COHORT_TITLES = [
  "Conversations",
  "Auto-resolution rate",
  "Handoff rate",
  "First answer, median",
];
const ACTIVITY_TITLES = [
  "Response time, median",
  "Response time, p95",
  "Tool error rate",
  "Retries",
  "Approvals asked",
  "Failed turns",
  "Messages",
  "Tokens",
];

/** How support goes. The address is the range, so that a link shows the same figures. */
export function DashboardPage() {
  const search = useSearch({ from: "/lead/dashboard" });
  const navigate = useNavigate({ from: "/dashboard" });
  usePageTitle("Dashboard");
  const range = rangeOf(search, Date.now());
  const onSearch = (next: DashboardSearch) => void navigate({ search: next });
  return (
    <main className={frame.page}>
      <div className={frame.column}>
        <header className={classes.head}>
          <Title order={1}>Dashboard</Title>
          <RangeSelector search={search} range={range} onSearch={onSearch} />
        </header>
        <Paused />
        {"wrong" in range ? (
          <ErrorBanner title={range.wrong} />
        ) : (
          <Figures key={range.start + range.end} range={range} />
        )}
      </div>
    </main>
  );
}

function Figures({ range }: { range: Range }) {
  const { start, end, bucket } = range;
  const { api } = useSession();
  const live = { placeholderData: keepPreviousData, refetchInterval: 60_000 };
  const now = { params: { query: { start, end } } };
  const then = { params: { query: before(range) } };
  const cohort = api.query.useQuery("get", "/api/dashboard/cohort", now, live);
  const activity = api.query.useQuery("get", "/api/dashboard", now, live);
  const cohortBefore = api.query.useQuery("get", "/api/dashboard/cohort", then);
  const activityBefore = api.query.useQuery("get", "/api/dashboard", then);
  const series = api.query.useQuery(
    "get",
    "/api/dashboard/series",
    { params: { query: { start, end, bucket } } },
    live,
  );
  const sources = [cohort, activity, series, cohortBefore, activityBefore];
  const failed = sources.filter(({ isError }) => isError);
  const again = () => {
    for (const source of failed) void source.refetch();
  };
  const quiet =
    cohort.data && activity.data ? isQuiet(cohort.data.cohort, activity.data.activity) : false;
  const whole = { start, end };

  const save = () =>
    download(
      `dashboard-${start.slice(0, 13)}-${end.slice(0, 13)}.csv`.replaceAll(":", ""),
      csvOf(
        rowsOf({
          start,
          end,
          cohort: cohort.data?.cohort ?? null,
          activity: activity.data?.activity ?? null,
          cohortBefore: cohortBefore.data?.cohort ?? null,
          activityBefore: activityBefore.data?.activity ?? null,
          points: series.data?.points ?? null,
        }),
      ),
    );

  return (
    <>
      <div className={classes.line}>
        <p className={classes.span}>{span(start, end)}</p>
        <Button
          variant="default"
          size="compact-sm"
          disabled={sources.every(({ data }) => data === undefined)}
          onClick={save}
        >
          Download CSV
        </Button>
      </div>
      {failed[0] !== undefined && (
        <div className={classes.banner}>
          <ProblemBanner problem={problemOf(failed[0].error)} retry={again} />
        </div>
      )}
      <div className={classes.cards}>
        <Cards
          titles={COHORT_TITLES}
          now={cohort.data && cohortMetrics(cohort.data.cohort)}
          source={cohort}
          before={cohortBefore.data && cohortMetrics(cohortBefore.data.cohort)}
          beforeFailed={cohortBefore.isError}
          {...whole}
        />
        <Cards
          titles={ACTIVITY_TITLES}
          now={activity.data && activityMetrics(activity.data.activity)}
          source={activity}
          before={activityBefore.data && activityMetrics(activityBefore.data.activity)}
          beforeFailed={activityBefore.isError}
          {...whole}
        />
      </div>
      {quiet ? (
        <EmptyState icon="clock" title="Nothing happened in this range">
          Choose a longer one, or come back when customers have written.
        </EmptyState>
      ) : (
        <>
          <h2 className={classes.heading}>Over time</h2>
          {series.data ? (
            <>
              <Suspense fallback={<ChartsLoading />}>
                <Charts points={series.data.points} bucket={bucket} />
              </Suspense>
              <OverTime points={series.data.points} bucket={bucket} />
            </>
          ) : series.isError ? (
            <div className={classes.charts}>
              <FailedCard title="Charts" retry={() => void series.refetch()} />
            </div>
          ) : (
            <ChartsLoading />
          )}
          <div className={classes.tables}>
            {cohort.data && (
              <Breakdown
                title="Why conversations were handed off"
                of="Reason"
                numbers={cohort.data.cohort.handoff_reasons}
                figure="handed_off"
                none="None was handed off."
                {...whole}
              />
            )}
            {activity.data && (
              <Breakdown
                title="Why turns failed"
                of="Error code"
                numbers={activity.data.activity.turns_failed}
                figure="turns_failed"
                none="No turn failed."
                {...whole}
              />
            )}
          </div>
          {activity.data && (
            <Operations operations={activity.data.activity.operations} {...whole} />
          )}
        </>
      )}
      <ErrorsSection {...whole} />
    </>
  );
}

interface CardsProps {
  titles: readonly string[];
  now: readonly Metric[] | undefined;
  before: readonly Metric[] | undefined;
  beforeFailed: boolean;
  source: { isError: boolean; refetch: () => unknown };
  start: string;
  end: string;
}

/** The cards of one source; what became of the others is not their matter. */
function Cards({ titles, now, before, beforeFailed, source, start, end }: CardsProps) {
  if (now)
    return now.map((metric, index) => (
      <MetricCard
        key={metric.title}
        metric={metric}
        before={before?.[index] ?? (beforeFailed ? "failed" : "loading")}
        start={start}
        end={end}
      />
    ));
  return titles.map((title) =>
    source.isError ? (
      <FailedCard key={title} title={title} retry={() => void source.refetch()} />
    ) : (
      <LoadingCard key={title} title={title} />
    ),
  );
}

function ChartsLoading() {
  return (
    <div className={classes.charts} role="status" aria-label="Loading the charts">
      <Skeleton height={270} radius="md" />
      <Skeleton height={270} radius="md" />
    </div>
  );
}
