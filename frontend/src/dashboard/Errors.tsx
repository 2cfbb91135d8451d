import { Skeleton } from "@mantine/core";
import { keepPreviousData } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { problemOf, useSession } from "../api/client";
import type { components } from "../api/schema.gen";
import { ProblemBanner } from "../ui/ErrorBanner";
import classes from "./dashboard.module.css";
import { shown } from "./figures";
import { Scrolled, Section } from "./Tables";

type Found = components["schemas"]["Errors"];
type Count = components["schemas"]["ErrorCount"];

/** Which errors the list below the tables is about. */
interface Chosen {
  by: "code" | "operation" | "upstream" | "agent" | "fingerprint";
  name: string;
}

interface RangeProps {
  start: string;
  end: string;
}

/** What went wrong in the range; read only once somebody opens it. */
export function ErrorsSection(range: RangeProps) {
  const [open, setOpen] = useState(false);
  return (
    <details
      className={classes.overTime}
      onToggle={(event) => setOpen(event.currentTarget.open)}
      data-testid="errors"
    >
      <summary>Errors, where they came from and how long they lasted</summary>
      {open && <Errors {...range} />}
    </details>
  );
}

function Errors({ start, end }: RangeProps) {
  const { api } = useSession();
  const [chosen, setChosen] = useState<Chosen | null>(null);
  const found = api.query.useQuery(
    "get",
    "/api/dashboard/errors",
    { params: { query: { start, end } } },
    { placeholderData: keepPreviousData, refetchInterval: 60_000 },
  );
  if (found.isError)
    return <ProblemBanner problem={problemOf(found.error)} retry={() => void found.refetch()} />;
  if (!found.data)
    return (
      <div role="status" aria-label="Loading the errors">
        <Skeleton height={200} radius="md" />
      </div>
    );
  const { data } = found;
  if (data.total.troubles === 0)
    return (
      <>
        <p className={classes.details}>Nothing went wrong in conversations.</p>
        <Outside outside={data.outside} />
      </>
    );
  const choose = (by: Chosen["by"]) => (name: string) => setChosen({ by, name });
  return (
    <>
      <p className={classes.details}>{summary(data)}</p>
      <OddHours hours={data.hours} />
      <div className={classes.tables}>
        <Counts
          title="Errors by code"
          of="Code"
          counts={data.by_code}
          choose={choose("code")}
          more={(count) => {
            const code = data.by_code.find(({ name }) => name === count.name);
            return code && `${code.severity} · ${code.hint}`;
          }}
        />
        <Counts
          title="Errors by operation"
          of="Operation"
          counts={data.by_operation}
          choose={choose("operation")}
        />
        <Counts
          title="Errors by API"
          of="Host"
          counts={data.by_upstream}
          choose={choose("upstream")}
        />
        <Counts
          title="Errors by agent"
          of="Agent"
          counts={data.by_agent}
          choose={choose("agent")}
        />
      </div>
      <Patterns patterns={data.patterns} choose={choose("fingerprint")} />
      {chosen !== null && <Conversations chosen={chosen} start={start} end={end} />}
      <Outside outside={data.outside} />
    </>
  );
}

/** All of it in one sentence. */
function summary({ total, by_severity }: Found): string {
  const over =
    total.mean_recovery_ms === null
      ? "none of them was got over yet"
      : `${total.recovered.toLocaleString("en-GB")} were got over, on average after ${shown(total.mean_recovery_ms, "ms")}`;
  return `${total.troubles.toLocaleString("en-GB")} errors (${severities(by_severity)}); ${over}.`;
}

/** Such as "3 high, 1 medium". */
function severities(by_severity: Found["by_severity"]): string {
  return Object.entries(by_severity)
    .filter(([, number]) => number > 0)
    .map(([name, number]) => `${number.toLocaleString("en-GB")} ${name}`)
    .reverse()
    .join(", ");
}

/** What belongs to no conversation: requests that were refused, jobs that failed. */
function Outside({ outside }: { outside: Found["outside"] }) {
  if (outside.total === 0) return null;
  const title = "Errors outside of conversations";
  return (
    <Section title={title}>
      <p className={classes.details}>
        {outside.total.toLocaleString("en-GB")} in requests, sockets and jobs (
        {severities(outside.by_severity)}).
      </p>
      <Scrolled title={title}>
        <table className={classes.table}>
          <thead>
            <tr>
              <th scope="col">Code</th>
              <th scope="col" className={classes.number}>
                Errors
              </th>
              <th scope="col" className={classes.number}>
                Last
              </th>
            </tr>
          </thead>
          <tbody>
            {outside.by_code.map((each) => (
              <tr key={each.code}>
                <th scope="row">
                  {each.code}
                  <span className={classes.hint}>
                    {each.severity} · {each.hint} · ref {each.last_correlation_id}
                  </span>
                </th>
                <td className={classes.number}>{each.errors.toLocaleString("en-GB")}</td>
                <td className={classes.number}>{HOUR.format(new Date(each.last_at))}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scrolled>
      <Scrolled title="Where they came from">
        <table className={classes.table}>
          <thead>
            <tr>
              <th scope="col">Where</th>
              <th scope="col" className={classes.number}>
                Errors
              </th>
            </tr>
          </thead>
          <tbody>
            {outside.by_place.map(({ place, operation, errors }) => (
              <tr key={`${place} ${operation}`}>
                <th scope="row">
                  {operation || "other"}
                  <span className={classes.hint}>{place}</span>
                </th>
                <td className={classes.number}>{errors.toLocaleString("en-GB")}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scrolled>
    </Section>
  );
}

const HOUR = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});

function OddHours({ hours }: { hours: Found["hours"] }) {
  const odd = hours.filter((hour) => hour.odd);
  if (odd.length === 0) return null;
  return (
    <Section title="Unusual hours">
      <ul className={classes.details}>
        {odd.map(({ start, troubles, usual }) => (
          <li key={start}>
            {HOUR.format(new Date(start))}: {troubles} errors; {usual.toFixed(1)} are usual at that
            hour
          </li>
        ))}
      </ul>
    </Section>
  );
}

function Counts({
  title,
  of,
  counts,
  choose,
  more,
}: {
  title: string;
  of: string;
  counts: readonly Count[];
  choose: (name: string) => void;
  more?: (count: Count) => string | undefined;
}) {
  if (counts.length === 0) return null;
  return (
    <Section title={title}>
      <Scrolled title={title}>
        <table className={classes.table}>
          <thead>
            <tr>
              <th scope="col">{of}</th>
              <th scope="col" className={classes.number}>
                Errors
              </th>
              <th scope="col" className={classes.number}>
                Got over
              </th>
              <th scope="col" className={classes.number}>
                After
              </th>
            </tr>
          </thead>
          <tbody>
            {counts.map((count) => (
              <tr key={count.name}>
                <th scope="row">
                  {count.name}
                  {more && <span className={classes.hint}>{more(count)}</span>}
                </th>
                <td className={classes.number}>
                  <Choose
                    label={`${count.troubles}, ${title}, ${count.name}`}
                    number={count.troubles}
                    run={() => choose(count.name)}
                  />
                </td>
                <td className={classes.number}>{count.recovered}</td>
                <td className={classes.number}>
                  {count.mean_recovery_ms === null ? "–" : shown(count.mean_recovery_ms, "ms")}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scrolled>
    </Section>
  );
}

function Patterns({
  patterns,
  choose,
}: {
  patterns: Found["patterns"];
  choose: (fingerprint: string) => void;
}) {
  return (
    <Section title="Recurring patterns">
      <Scrolled title="Recurring patterns">
        <table className={classes.table}>
          <thead>
            <tr>
              <th scope="col">Pattern</th>
              <th scope="col" className={classes.number}>
                Errors
              </th>
              <th scope="col" className={classes.number}>
                Conversations
              </th>
              <th scope="col" className={classes.number}>
                Last
              </th>
            </tr>
          </thead>
          <tbody>
            {patterns.map((pattern) => (
              <tr key={pattern.fingerprint}>
                <th scope="row">
                  {pattern.code}
                  <span className={classes.hint}>
                    {[pattern.kind, pattern.operation, pattern.upstream]
                      .filter(Boolean)
                      .join(" · ")}
                  </span>
                </th>
                <td className={classes.number}>
                  <Choose
                    label={`${pattern.troubles}, pattern ${pattern.fingerprint}`}
                    number={pattern.troubles}
                    run={() => choose(pattern.fingerprint)}
                  />
                </td>
                <td className={classes.number}>{pattern.conversations}</td>
                <td className={classes.number}>{HOUR.format(new Date(pattern.last_at))}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scrolled>
    </Section>
  );
}

function Choose({ label, number, run }: { label: string; number: number; run: () => void }) {
  return (
    <button type="button" className={classes.choose} aria-label={label} onClick={run}>
      {number.toLocaleString("en-GB")}
    </button>
  );
}

/** The conversations in which what was chosen went wrong, newest first. */
function Conversations({ chosen, start, end }: RangeProps & { chosen: Chosen }) {
  const { api } = useSession();
  const list = api.query.useQuery("get", "/api/dashboard/errors/conversations", {
    params: { query: { start, end, limit: 30, [chosen.by]: chosen.name } },
  });
  const title = `Conversations: ${chosen.name}`;
  if (list.isError)
    return <ProblemBanner problem={problemOf(list.error)} retry={() => void list.refetch()} />;
  return (
    <Section title={title}>
      <ul className={classes.details} aria-busy={list.isPending}>
        {list.data?.threads.map(({ id, title: about, troubles }) => (
          <li key={id}>
            <Link to="/replay/$threadId" params={{ threadId: id }}>
              {about || "Without a title"}
            </Link>
            , {troubles === 1 ? "1 error" : `${troubles} errors`}
          </li>
        ))}
      </ul>
      {list.data?.next_cursor && <p className={classes.details}>These are the newest 30.</p>}
    </Section>
  );
}
