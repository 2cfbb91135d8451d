import { Button } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { problemOf, useSession } from "../api/client";
import type { components } from "../api/schema.gen";
import { ProblemBanner } from "../ui/ErrorBanner";
import { Icon } from "../ui/icons";
import { dayAndTime, plural } from "../ui/time";
import classes from "./replay.module.css";

const LOOK_AGAIN = 15_000;
const MOST = 100;

/** So many are shown at first: the conversations below are what most come for. */
const FEW = 5;

type ToolCall = components["schemas"]["ToolCall"];

/** Calls whose outcome nobody knows, the one that waits longest first; each leads to its step. */
export function UnknownCalls() {
  const { api } = useSession();
  const [all, setAll] = useState(false);
  const unknown = api.query.useQuery(
    "get",
    "/api/tool-calls/unknown",
    { params: { query: { limit: MOST } } },
    { refetchInterval: LOOK_AGAIN },
  );
  const calls = unknown.data?.calls ?? [];
  if (unknown.isError && calls.length === 0)
    return <ProblemBanner problem={problemOf(unknown.error)} />;
  if (calls.length === 0) return null;
  const count = `${calls.length}${calls.length === MOST ? "+" : ""}`;
  return (
    <section className={classes.approvals} aria-label="Calls with an unknown outcome">
      <h2>
        <Icon name="warning" size={18} /> Nobody knows what became of these calls ({count})
      </h2>
      <ul className={classes.unknown}>
        {(all ? calls : calls.slice(0, FEW)).map((call) => (
          <Unknown key={call.id} call={call} />
        ))}
      </ul>
      {!all && calls.length > FEW && (
        <Button mt="xs" size="compact-sm" variant="default" onClick={() => setAll(true)}>
          Show all {count}
        </Button>
      )}
    </section>
  );
}

function Unknown({ call }: { call: ToolCall }) {
  const { id, thread_id, operation, sent_at, checks, code } = call;
  return (
    <li>
      <Link to="/replay/$threadId" params={{ threadId: thread_id }} search={{ call: id }}>
        {operation}
      </Link>
      <span>
        {sent_at !== null && `sent ${dayAndTime(sent_at)} · `}
        {code === "TOOL_STILL_RUNNING" ? "accepted, not confirmed" : "no clear answer"}
        {checks > 0 && ` · looked for ${plural(checks, "time")}`}
      </span>
    </li>
  );
}
