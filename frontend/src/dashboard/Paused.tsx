import { Link } from "@tanstack/react-router";
import { useSession } from "../api/client";
import type { components } from "../api/schema.gen";
import { Icon } from "../ui/icons";
import classes from "./dashboard.module.css";

const LOOK_AGAIN = 60_000;

/** A break is over within seconds. More often would be a load on what the details look at. */
const WHILE_PAUSED = 15_000;

type Breaker = components["schemas"]["Breaker"];
type Details = components["schemas"]["Details"];

/** What of the company's APIs gets no calls now, because they have been failing. */
export function Paused() {
  const { api } = useSession();
  const details = api.query.useQuery(
    "get",
    "/api/health/details",
    {},
    {
      refetchInterval: ({ state }) =>
        state.data !== undefined && pausedOf(state.data).length > 0 ? WHILE_PAUSED : LOOK_AGAIN,
    },
  );
  if (details.isError)
    return <p className={classes.span}>Whether an API is paused could not be loaded.</p>;
  const paused = details.data === undefined ? [] : pausedOf(details.data);
  if (paused.length === 0) return null;
  const known = details.data?.processes.length ?? 1;
  return (
    <section className={classes.paused} aria-label="APIs that get no calls now">
      <Icon name="warning" size={18} />
      <div>
        <p>
          <strong>Calls to these have been failing, so none are sent for a moment.</strong>{" "}
          <Link to="/settings">How everything is</Link>
        </p>
        <ul>
          {paused.map(({ origin, group, state, processes }) => (
            <li key={`${origin} ${group}`}>
              {group} <code>{origin}</code> {state === "open" ? "paused" : "being tried"}
              {known > 1 && ` in ${processes.length} of ${known} processes`}
            </li>
          ))}
        </ul>
      </div>
    </section>
  );
}

function pausedOf({ upstreams }: Details): Breaker[] {
  return upstreams.flatMap(({ breakers }) => breakers.filter(({ state }) => state !== "closed"));
}
