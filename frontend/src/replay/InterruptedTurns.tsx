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
const PAGE = 50;

/** So many are shown at first: the conversations below are what most come for. */
const FEW = 5;

type InterruptedTurn = components["schemas"]["InterruptedTurn"];

/** Why there is no answer, for somebody who does not know how turns are recovered. */
const REASONS: Record<InterruptedTurn["kind"], string> = {
  given_up: "given up",
  too_late: "too late to go on",
  failed: "failed after it was gone on with",
};

/** Messages whose answer broke off and to which nobody has said anything since, newest first. */
export function InterruptedTurns() {
  const { api } = useSession();
  const [all, setAll] = useState(false);
  const interrupted = api.query.useInfiniteQuery(
    "get",
    "/api/turns/interrupted",
    { params: { query: { unanswered: true, limit: PAGE } } },
    {
      pageParamName: "cursor",
      initialPageParam: null,
      getNextPageParam: (page: { next_cursor: string | null }) => page.next_cursor ?? undefined,
      refetchInterval: LOOK_AGAIN,
    },
  );
  const turns = interrupted.data?.pages.flatMap((page) => page.turns) ?? [];
  if (interrupted.isError && turns.length === 0)
    return <ProblemBanner problem={problemOf(interrupted.error)} />;
  if (turns.length === 0) return null;
  const count = `${turns.length}${interrupted.hasNextPage ? "+" : ""}`;
  return (
    <section className={classes.approvals} aria-label="Answers that broke off">
      <h2>
        <Icon name="warning" size={18} /> These answers broke off ({count})
      </h2>
      <ul className={classes.unknown}>
        {(all ? turns : turns.slice(0, FEW)).map((turn) => (
          <Interrupted key={turn.turn_id} turn={turn} />
        ))}
      </ul>
      {!all && turns.length > FEW && (
        <Button mt="xs" size="compact-sm" variant="default" onClick={() => setAll(true)}>
          Show all {count}
        </Button>
      )}
      {all && interrupted.hasNextPage && (
        <Button
          mt="xs"
          size="compact-sm"
          variant="default"
          loading={interrupted.isFetchingNextPage}
          onClick={() => void interrupted.fetchNextPage()}
        >
          Load more that broke off
        </Button>
      )}
    </section>
  );
}

function Interrupted({ turn }: { turn: InterruptedTurn }) {
  const { thread_id, closed_seq, closed_at, customer_name, kind, code, recoveries, text } = turn;
  return (
    <li>
      <Link to="/replay/$threadId" params={{ threadId: thread_id }} search={{ step: closed_seq }}>
        {text}
      </Link>
      <span>
        {customer_name} · {dayAndTime(closed_at)} · {REASONS[kind]}
        {kind === "failed" && ` (${code})`} · taken over {plural(recoveries, "time")}
      </span>
    </li>
  );
}
