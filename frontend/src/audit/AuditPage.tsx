import { Button, NativeSelect, Skeleton, Stack, TextInput, Title } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { problemOf, useSession } from "../api/client";
import type { components } from "../api/schema.gen";
import { EmptyState } from "../ui/EmptyState";
import { ProblemBanner } from "../ui/ErrorBanner";
import frame from "../ui/frame.module.css";
import { dayAndTime } from "../ui/time";
import { usePageTitle } from "../ui/usePageTitle";
import classes from "./audit.module.css";
import { ACTS, type Act, type AuditSearch, between } from "./search";

type Entry = components["schemas"]["AuditEntry"];

const PAGE = 50;

const KINDS = [
  { value: "", label: "Everything" },
  ...Object.entries(ACTS).map(([value, label]) => ({ value, label })),
];

/** Who did what and when, the newest first. The address is the filter. */
export function AuditPage() {
  const search = useSearch({ from: "/operator/audit" });
  const { api } = useSession();
  usePageTitle("Audit log");
  const specs = api.query.useQuery("get", "/api/specs", {});
  const names = new Map((specs.data?.specs ?? []).map(({ id, name }) => [id, name]));
  const entries = api.query.useInfiniteQuery(
    "get",
    "/api/audit",
    {
      params: {
        query: {
          limit: PAGE,
          ...(search.act ? { act: search.act } : {}),
          ...(search.actor ? { actor: search.actor } : {}),
          ...between(search),
        },
      },
    },
    {
      pageParamName: "before",
      initialPageParam: null,
      getNextPageParam: (page: { next_before: number | null }) => page.next_before ?? undefined,
    },
  );
  const rows = entries.data?.pages.flatMap((page) => page.entries) ?? [];
  return (
    <main className={frame.page}>
      <div className={frame.column}>
        <Title order={1}>Audit log</Title>
        <p className={classes.quiet}>
          Who did what, and when. Entries are never changed or deleted, and each covers the one
          before it. <Whole />
        </p>
        <Filters key={search.actor ?? ""} search={search} />
        {entries.isPending ? (
          <Stack gap={10} aria-label="Loading the log" role="status">
            {[1, 2, 3, 4, 5].map((row) => (
              <Skeleton key={row} height={44} radius="md" />
            ))}
          </Stack>
        ) : entries.isError && rows.length === 0 ? (
          <ProblemBanner problem={problemOf(entries.error)} retry={() => void entries.refetch()} />
        ) : rows.length === 0 ? (
          <EmptyState icon="search" title="Nothing is written down for this filter" />
        ) : (
          <>
            <Entries entries={rows} names={names} />
            {entries.isError && (
              <ProblemBanner
                problem={problemOf(entries.error)}
                retry={() => void entries.fetchNextPage()}
              />
            )}
            {entries.hasNextPage && (
              <Button
                mt="md"
                variant="default"
                loading={entries.isFetchingNextPage}
                onClick={() => void entries.fetchNextPage()}
              >
                Older entries
              </Button>
            )}
          </>
        )}
      </div>
    </main>
  );
}

/** Computes the chain of hashes again, when somebody asks. */
function Whole() {
  const { api } = useSession();
  const check = api.query.useQuery("get", "/api/audit/check", {}, { enabled: false, gcTime: 0 });
  return (
    <>
      <Button
        size="compact-xs"
        variant="default"
        loading={check.isFetching}
        onClick={() => void check.refetch()}
      >
        Check that it is whole
      </Button>{" "}
      <span role="status">
        {check.data &&
          (check.data.whole
            ? "It is as it was written."
            : `Entry ${check.data.first_broken} was changed, or one before it is missing.`)}
        {check.isError && "It could not be checked."}
      </span>
    </>
  );
}

function Filters({ search }: { search: AuditSearch }) {
  const navigate = useNavigate({ from: "/audit" });
  const change = (more: AuditSearch) =>
    void navigate({ search: (now) => ({ ...now, ...more }), replace: true });
  const [actor, setActor] = useState(search.actor ?? "");
  const later = useDebouncedCallback((text: string) => change({ actor: text || undefined }), 300);
  const days = [
    { name: "from", label: "From" },
    { name: "to", label: "To" },
  ] as const;
  return (
    <div className={classes.filters} role="search">
      <NativeSelect
        label="What"
        data={KINDS}
        value={search.act ?? ""}
        onChange={(event) => change({ act: (event.currentTarget.value || undefined) as Act })}
      />
      <TextInput
        label="Who"
        placeholder="Id of a person"
        maxLength={200}
        value={actor}
        onChange={(event) => {
          setActor(event.currentTarget.value);
          later(event.currentTarget.value.trim());
        }}
      />
      {days.map(({ name, label }) => (
        <TextInput
          key={name}
          type="date"
          label={label}
          value={search[name] ?? ""}
          onChange={(event) => change({ [name]: event.currentTarget.value || undefined })}
        />
      ))}
    </div>
  );
}

function Entries({ entries, names }: { entries: Entry[]; names: Map<string, string> }) {
  return (
    <table className={classes.table}>
      <thead>
        <tr>
          <th scope="col">When</th>
          <th scope="col">Who</th>
          <th scope="col">What</th>
          <th scope="col">To what</th>
        </tr>
      </thead>
      <tbody>
        {entries.map((entry) => (
          <tr key={entry.number}>
            <td>
              <time dateTime={entry.at}>{dayAndTime(entry.at)}</time>
            </td>
            <td>
              <Link to="/audit" search={(now) => ({ ...now, actor: entry.actor })}>
                {entry.actor}
              </Link>
              <span className={classes.quiet}> {entry.role.replace("_", " ")}</span>
            </td>
            <td>{ACTS[entry.act as Act] ?? entry.act}</td>
            <td className={classes.subject}>
              <Subject entry={entry} names={names} />
              <Details entry={entry} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The document that an entry speaks of, as a link; else the id or path that it names. */
function Subject({ entry, names }: { entry: Entry; names: Map<string, string> }) {
  const { subject, details } = entry;
  const specId = [subject, String(details.spec_id ?? "")].find((id) => names.has(id));
  if (specId !== undefined)
    return (
      <Link to="/review/$specId" params={{ specId }}>
        {names.get(specId)}
      </Link>
    );
  // What has gone since has no name here any more.
  return <code>{String(details.title ?? subject)}</code>;
}

function Details({ entry }: { entry: Entry }) {
  const { spec_id: _, title: __, ...rest } = entry.details;
  const facts = Object.entries(rest).map(([name, value]) => `${name} ${shown(value)}`);
  return (
    <details className={classes.details}>
      <summary>{facts.join(", ") || "Details"}</summary>
      <dl>
        <dt>Subject</dt>
        <dd>{entry.subject}</dd>
        <dt>Correlation id</dt>
        <dd>{entry.correlation_id ?? "none"}</dd>
        <dt>Entry</dt>
        <dd>
          {entry.number}, <code>{entry.hash}</code>
        </dd>
      </dl>
    </details>
  );
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return value.map(shown).join(" and ");
  return typeof value === "string" ? value : JSON.stringify(value);
}
