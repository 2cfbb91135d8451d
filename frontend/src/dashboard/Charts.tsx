import "@mantine/core/styles/ColorSwatch.layer.css";
import "@mantine/charts/styles.layer.css";
import { BarChart, LineChart } from "@mantine/charts";
import classes from "./dashboard.module.css";
import { POINT_COLUMNS, type Point, shown, type Unit } from "./figures";

type Name = (typeof POINT_COLUMNS)[number]["name"];

interface ChartOf {
  title: string;
  unit: Unit;
  kind: "bars" | "lines";
  stacked?: boolean;
  names: readonly Name[];
}

const CHARTS: readonly ChartOf[] = [
  {
    title: "Conversations",
    unit: "count",
    kind: "lines",
    names: ["opened", "resolved", "handed_off"],
  },
  { title: "Response time", unit: "ms", kind: "lines", names: ["median_ms", "p95_ms"] },
  {
    title: "Tools",
    unit: "count",
    kind: "bars",
    names: ["tool_calls", "tool_errors", "retries"],
  },
  {
    title: "Tokens",
    unit: "count",
    kind: "bars",
    stacked: true,
    names: ["input_tokens", "output_tokens"],
  },
];

const COLOURS = ["var(--chart-1)", "var(--chart-2)", "var(--chart-3)"];

const HOURS = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAYS = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

/** The figures over time. The same numbers stand in the table below, where each is a link. */
export function Charts({ points, bucket }: { points: Point[]; bucket: "hour" | "day" }) {
  const data = points.map((point) => ({
    ...point,
    at: (bucket === "hour" ? HOURS : DAYS).format(new Date(point.start)),
  }));
  return (
    <div className={classes.charts}>
      {CHARTS.map((chart) => (
        <Chart key={chart.title} chart={chart} data={data} />
      ))}
    </div>
  );
}

function Chart({ chart, data }: { chart: ChartOf; data: (Point & { at: string })[] }) {
  const { title, unit, kind, stacked, names } = chart;
  const series = names.map((name, index) => ({
    name,
    label: POINT_COLUMNS.find((column) => column.name === name)?.title ?? name,
    color: COLOURS[index] ?? "var(--chart-1)",
  }));
  const common = {
    h: 220,
    data,
    dataKey: "at",
    series,
    withLegend: true,
    legendProps: { itemSorter: null },
    tickLine: "none" as const,
    valueFormatter: (value: number) => shown(value, unit),
    yAxisProps: { width: 64, allowDecimals: false },
    xAxisProps: { minTickGap: 24 },
    tooltipAnimationDuration: 0,
  };
  return (
    <section className={classes.card} aria-label={`${title} over time`}>
      <h3 className={classes.cardTitle}>{title}</h3>
      <div
        role="img"
        aria-label={`${series.map(({ label }) => label).join(", ")} over time; the numbers are in the table below`}
      >
        {kind === "bars" ? (
          // A focus order of its own has no place inside a picture.
          <BarChart
            {...common}
            type={stacked ? "stacked" : "default"}
            barChartProps={{ accessibilityLayer: false }}
            barProps={{ isAnimationActive: false }}
          />
        ) : (
          <LineChart
            {...common}
            curveType="linear"
            connectNulls={false}
            withDots={data.length < 40}
            lineChartProps={{ accessibilityLayer: false }}
            lineProps={{ isAnimationActive: false }}
          />
        )}
      </div>
    </section>
  );
}
