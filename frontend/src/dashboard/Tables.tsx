import type { ReactNode } from "react";
import type { FigureName } from "../ui/figures";
import { DrillLink } from "./DrillLink";
import classes from "./dashboard.module.css";
import {
  byCount,
  OPERATION_COLUMNS,
  type Operation,
  POINT_COLUMNS,
  type Point,
  type Unit,
} from "./figures";

interface RangeProps {
  start: string;
  end: string;
}

/** Numbers by reason or code, the largest first. */
export function Breakdown({
  title,
  of,
  numbers,
  figure,
  none,
  ...range
}: RangeProps & {
  title: string;
  of: string;
  numbers: Record<string, number>;
  figure: FigureName;
  none: string;
}) {
  const rows = byCount(numbers);
  return (
    <Section title={title}>
      {rows.length === 0 ? (
        <p className={classes.details}>{none}</p>
      ) : (
        <Scrolled title={title}>
          <table className={classes.table}>
            <thead>
              <tr>
                <th scope="col">{of}</th>
                <th scope="col" className={classes.number}>
                  Number
                </th>
              </tr>
            </thead>
            <tbody>
              {rows.map(([name, number]) => (
                <tr key={name}>
                  <th scope="row">{name === "" ? "Without a code" : words(name)}</th>
                  <td className={classes.number}>
                    <DrillLink
                      linked={{
                        value: number,
                        unit: "count",
                        figure,
                        dimension: name,
                        counts: number,
                      }}
                      {...range}
                    />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scrolled>
      )}
    </Section>
  );
}

/** Reasons are kept as `customer_request`; codes such as `MODEL_UNAVAILABLE` stay as they are. */
function words(name: string): string {
  if (!/^[a-z]+(_[a-z]+)*$/.test(name)) return name;
  const spaced = name.replaceAll("_", " ");
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}

export function Operations({
  operations,
  ...range
}: RangeProps & { operations: readonly Operation[] }) {
  return (
    <Section title="Operations">
      {operations.length === 0 ? (
        <p className={classes.details}>No tool was called in this range.</p>
      ) : (
        <Scrolled title="Operations">
          <table className={classes.table}>
            <thead>
              <tr>
                <th scope="col">Operation</th>
                {OPERATION_COLUMNS.map(({ name, title }) => (
                  <th key={name} scope="col" className={classes.number}>
                    {title}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {operations.map((operation) => (
                <tr key={operation.operation}>
                  <th scope="row">{operation.operation}</th>
                  {OPERATION_COLUMNS.map(({ name, title, unit, figure, counts }) => (
                    <td
                      key={name}
                      className={classes.number}
                      data-bad={name === "errors" && operation.errors > 0}
                    >
                      <DrillLink
                        linked={{
                          value: operation[name],
                          unit,
                          figure,
                          dimension: operation.operation,
                          counts: operation[counts],
                        }}
                        of={title}
                        {...range}
                      />
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </Scrolled>
      )}
    </Section>
  );
}

const UTC_HOUR = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});
const UTC_DAY = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
  timeZone: "UTC",
});

/** The numbers of the charts. Quiet hours and days are left out: they hold nothing to open. */
export function OverTime({ points, bucket }: { points: readonly Point[]; bucket: "hour" | "day" }) {
  const busy = points.filter((point) => POINT_COLUMNS.some(({ name }) => (point[name] ?? 0) !== 0));
  return (
    <details className={classes.overTime}>
      <summary>The numbers of the charts{bucket === "day" && ", by day of UTC"}</summary>
      <Scrolled title="Over time">
        <table className={classes.table}>
          <thead>
            <tr>
              <th scope="col">{bucket === "day" ? "Day" : "Hour"}</th>
              {POINT_COLUMNS.map(({ name, title }) => (
                <th key={name} scope="col" className={classes.number}>
                  {title}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {busy.map((point) => (
              <tr key={point.start}>
                <th scope="row">
                  {(bucket === "day" ? UTC_DAY : UTC_HOUR).format(new Date(point.start))}
                </th>
                {POINT_COLUMNS.map(({ name, title, unit, figure }) => (
                  <td key={name} className={classes.number}>
                    <PointCell
                      point={point}
                      name={name}
                      title={title}
                      unit={unit}
                      figure={figure}
                    />
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </Scrolled>
    </details>
  );
}

function PointCell({
  point,
  name,
  title,
  unit,
  figure,
}: {
  point: Point;
  name: (typeof POINT_COLUMNS)[number]["name"];
  title: string;
  unit: Unit;
  figure: FigureName;
}) {
  const value = point[name];
  if (value === null || value === 0) return <span className={classes.nothing}>–</span>;
  return (
    <DrillLink
      linked={{ value, unit, figure, counts: unit === "ms" ? point.responses : value }}
      of={title}
      start={point.start}
      end={point.end}
    />
  );
}

export function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className={classes.card} aria-label={title}>
      <h2 className={classes.cardTitle}>{title}</h2>
      {children}
    </section>
  );
}

/** Wide tables scroll inside their card, also by keyboard. */
export function Scrolled({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className={classes.scrolled} aria-label={`${title}, table`} tabIndex={0}>
      {children}
    </section>
  );
}
