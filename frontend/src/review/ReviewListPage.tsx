import { Skeleton, Stack, Title } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { problemOf, type Spec, useSession } from "../api/client";
import { EmptyState } from "../ui/EmptyState";
import { ProblemBanner } from "../ui/ErrorBanner";
import frame from "../ui/frame.module.css";
import { dayAndTime, plural } from "../ui/time";
import { usePageTitle } from "../ui/usePageTitle";
import { ImportPanel } from "./ImportPanel";
import classes from "./review.module.css";

/** Every imported document, and a way to import one. */
export function ReviewListPage() {
  const { api } = useSession();
  usePageTitle("Review");
  const specs = api.query.useQuery("get", "/api/specs", {});
  return (
    <main className={frame.page}>
      <div className={frame.column}>
        <Title order={1}>APIs</Title>
        <p className={classes.quiet}>
          You decide what the agent may do. What nobody has approved cannot be called.
        </p>
        <ImportPanel />
        <Title order={2} mt="lg" mb="xs">
          Imported
        </Title>
        {specs.isPending ? (
          <Stack gap={10} aria-label="Loading documents" role="status">
            {[1, 2, 3].map((row) => (
              <Skeleton key={row} height={64} radius="md" />
            ))}
          </Stack>
        ) : specs.isError ? (
          <ProblemBanner problem={problemOf(specs.error)} retry={() => void specs.refetch()} />
        ) : specs.data.specs.length === 0 ? (
          <EmptyState icon="list" title="No API is imported yet">
            Bring in an OpenAPI document above; its operations then wait for your review.
          </EmptyState>
        ) : (
          <ul className={classes.specs}>
            {specs.data.specs.map((spec) => (
              <SpecRow key={spec.id} spec={spec} />
            ))}
          </ul>
        )}
      </div>
    </main>
  );
}

function SpecRow({ spec }: { spec: Spec }) {
  return (
    <li className={classes.spec}>
      <div>
        <Link to="/review/$specId" params={{ specId: spec.id }} className={classes.specName}>
          {spec.name}
        </Link>
        <span className={classes.quiet}>
          {spec.version_text && `version ${spec.version_text}, `}
          {spec.dialect}, imported {dayAndTime(spec.imported_at)}
        </span>
      </div>
      <div className={classes.specLeft}>
        <Left spec={spec} />
        <span className={classes.quiet}>
          {spec.skipped.length > 0 && plural(spec.skipped.length, "remark")}
        </span>
      </div>
    </li>
  );
}

function Left({ spec: { waiting_count, operation_count } }: { spec: Spec }) {
  if (waiting_count === 0)
    return <strong>{plural(operation_count, "operation")}, all decided</strong>;
  return (
    <strong>
      {waiting_count.toLocaleString("en-GB")} of {operation_count.toLocaleString("en-GB")} left
    </strong>
  );
}
