import { Button, Skeleton, Stack, Title } from "@mantine/core";
import { problemOf, useSession } from "../api/client";
import type { components } from "../api/schema.gen";
import { EmptyState } from "../ui/EmptyState";
import { ProblemBanner } from "../ui/ErrorBanner";
import frame from "../ui/frame.module.css";
import { Icon } from "../ui/icons";
import { duration } from "../ui/time";
import { usePageTitle } from "../ui/usePageTitle";
import { CustomersConnected } from "./CustomersConnected";
import { EndSignIns } from "./EndSignIns";
import { KillSwitch } from "./KillSwitch";
import classes from "./settings.module.css";
import { amount } from "./words";

type Details = components["schemas"]["Details"];
type Dependency = components["schemas"]["Dependency"];

/** How the installation is, and the switch that stops calls at once. */
export function SettingsPage() {
  const { api } = useSession();
  usePageTitle("Settings");
  const details = api.query.useQuery("get", "/api/health/details", {}, { refetchInterval: 60_000 });
  return (
    <main className={frame.page}>
      <div className={frame.column}>
        <header className={classes.head}>
          <Title order={1}>Settings</Title>
          <Button
            variant="default"
            loading={details.isFetching}
            onClick={() => void details.refetch()}
          >
            Look again
          </Button>
        </header>
        {details.isError && (
          <div className={classes.banner}>
            <ProblemBanner
              problem={problemOf(details.error)}
              retry={() => void details.refetch()}
            />
          </div>
        )}
        <KillSwitch />
        <EndSignIns />
        {details.data ? (
          <Shown details={details.data} />
        ) : (
          details.isPending && (
            <Stack gap={12} mt="md" role="status" aria-label="Looking at everything">
              {[1, 2, 3].map((row) => (
                <Skeleton key={row} height={72} radius="md" />
              ))}
            </Stack>
          )
        )}
      </div>
    </main>
  );
}

function Shown({ details }: { details: Details }) {
  const { version, revision, model, dependencies, limits, upstreams, processes } = details;
  const paused = upstreams.flatMap(({ breakers }) =>
    breakers.filter(({ state }) => state !== "closed"),
  );
  const own = dependencies.filter(({ kind }) => kind !== "api");
  const apis = dependencies.filter(({ kind }) => kind === "api");
  return (
    <>
      <dl className={classes.facts}>
        <Fact name="Version">{version}</Fact>
        <Fact name="Newest migration">{revision ?? "none"}</Fact>
        <Fact name="Model">
          {model.name}
          {model.offline && " (built in, because no key is set)"}
        </Fact>
      </dl>
      <h2 className={classes.heading}>Health</h2>
      <ul className={classes.list}>
        {own.map((each) => (
          <Row key={each.kind} dependency={each} />
        ))}
      </ul>
      <h2 className={classes.heading}>Imported APIs</h2>
      {apis.length === 0 ? (
        <EmptyState icon="tool" title="No API is imported yet">
          An operator imports an OpenAPI document; its API then appears here.
        </EmptyState>
      ) : (
        <ul className={classes.list}>
          {apis.map((each) => (
            <Row key={each.name} dependency={each} />
          ))}
        </ul>
      )}
      <CustomersConnected />
      {paused.length > 0 && (
        <>
          <h2 className={classes.heading}>Left alone for a moment</h2>
          <p className={classes.note}>Calls to these have been failing; nothing is sent for now.</p>
          <ul className={classes.list}>
            {paused.map(({ origin, group, state, retry_in, processes: where }) => (
              <li key={`${origin} ${group}`} className={classes.row} data-status="failing">
                <span className={classes.state}>
                  <Icon name="warning" />
                  {state === "open" ? "Paused" : "Being tried"}
                </span>
                <span className={classes.what}>
                  <strong>{group}</strong>
                  <code>{origin}</code>
                  {processes.length > 1 && (
                    <span className={classes.reason}>
                      In {where.length} of {processes.length} processes: {where.join(", ")}
                    </span>
                  )}
                </span>
                <span className={classes.latency}>{duration(retry_in * 1000)}</span>
              </li>
            ))}
          </ul>
        </>
      )}
      <h2 className={classes.heading}>Limits</h2>
      <p className={classes.note}>
        Set in the environment or in the file <code>.env</code>; read when the service starts.
      </p>
      <dl className={classes.limits}>
        {limits.map(({ name, value, meaning }) => (
          <div key={name} className={classes.limit}>
            <dt>
              {meaning}
              <code>{name}</code>
            </dt>
            <dd>{amount(name, value)}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

const KINDS: Record<Dependency["kind"], string> = {
  database: "Database",
  model: "Model",
  api: "API",
};
const STATES: Record<Dependency["status"], string> = {
  ok: "Works",
  failing: "Fails",
  not_checked: "Not checked",
};

function Row({ dependency }: { dependency: Dependency }) {
  const { kind, name, address, status, latency_ms, reason } = dependency;
  return (
    <li className={classes.row} data-status={status}>
      <span className={classes.state}>
        <Icon name={status === "ok" ? "check" : status === "failing" ? "warning" : "question"} />
        {STATES[status]}
      </span>
      <span className={classes.what}>
        <strong>{kind === "api" ? name : `${KINDS[kind]}: ${name}`}</strong>
        {address && <code>{address}</code>}
        {reason && <span className={classes.reason}>{reason}</span>}
      </span>
      <span className={classes.latency}>{latency_ms !== null && duration(latency_ms)}</span>
    </li>
  );
}
