import { Button, NativeSelect, Skeleton, Stack, TextInput, Title } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { problemOf, type ThreadStatus, useSession } from "../api/client";
import { EmptyState } from "../ui/EmptyState";
import { ProblemBanner } from "../ui/ErrorBanner";
import { countedSearch } from "../ui/figures";
import frame from "../ui/frame.module.css";
import { Icon } from "../ui/icons";
import { STATUS_WORDS } from "../ui/StatusBadge";
import { usePageTitle } from "../ui/usePageTitle";
import { CountedConversations } from "./CountedConversations";
import { InterruptedTurns } from "./InterruptedTurns";
import { LeadApprovals } from "./LeadApprovals";
import classes from "./replay.module.css";
import { ThreadTable } from "./ThreadTable";
import { UnknownCalls } from "./UnknownCalls";

const PAGE = 50;

/** How often those who wait for a person are looked for, in milliseconds. */
const COUNT_AGAIN = 5_000;

const STATES = [
  { value: "", label: "All states" },
  ...Object.entries(STATUS_WORDS).map(([value, label]) => ({ value, label })),
];

/** Conversations, latest first. The address is the filter, so a link shows the same list. */
export function ReplayListPage() {
  const counted = countedSearch({ ...useSearch({ from: "/lead/replay" }) });
  return counted === null ? <EveryConversation /> : <CountedConversations which={counted} />;
}

function EveryConversation() {
  const { status, query } = useSearch({ from: "/lead/replay" });
  const navigate = useNavigate({ from: "/replay" });
  const { api } = useSession();
  usePageTitle("Replay");
  const threads = api.query.useInfiniteQuery(
    "get",
    "/api/threads",
    {
      params: {
        query: { limit: PAGE, ...(status ? { status } : {}), ...(query ? { query } : {}) },
      },
    },
    {
      pageParamName: "cursor",
      initialPageParam: null,
      getNextPageParam: (page: { next_cursor: string | null }) => page.next_cursor ?? undefined,
      // Who waits for a person should not wait for somebody to press reload.
      refetchInterval: status === "handed_off" && COUNT_AGAIN,
    },
  );
  const rows = threads.data?.pages.flatMap((page) => page.threads) ?? [];
  const filtered = status !== undefined || query !== undefined;

  return (
    <main className={frame.page}>
      <div className={frame.column}>
        <Title order={1}>Conversations</Title>
        <LeadApprovals />
        <UnknownCalls />
        <InterruptedTurns />
        <div className={classes.filters} role="search">
          <SearchField
            query={query ?? ""}
            onQuery={(text) =>
              navigate({
                search: (now) => ({ ...now, query: text === "" ? undefined : text }),
                replace: true,
              })
            }
          />
          <WaitingFilter
            on={status === "handed_off"}
            onToggle={(on) =>
              void navigate({
                search: (now) => ({ ...now, status: on ? "handed_off" : undefined }),
              })
            }
          />
          <NativeSelect
            aria-label="State"
            data={STATES}
            value={status ?? ""}
            onChange={(event) => {
              const value = event.currentTarget.value;
              void navigate({
                search: (now) => ({
                  ...now,
                  status: value === "" ? undefined : (value as ThreadStatus),
                }),
              });
            }}
          />
        </div>
        {threads.isPending ? (
          <Stack gap={10} aria-label="Loading conversations" role="status">
            {[1, 2, 3, 4, 5].map((row) => (
              <Skeleton key={row} height={56} radius="md" />
            ))}
          </Stack>
        ) : threads.isError && rows.length === 0 ? (
          <ProblemBanner problem={problemOf(threads.error)} retry={() => void threads.refetch()} />
        ) : rows.length === 0 ? (
          <EmptyState
            icon={filtered ? "search" : "replay"}
            title={filtered ? "Nothing matches this filter" : "No conversations yet"}
            action={
              filtered && (
                <Button variant="default" onClick={() => void navigate({ search: {} })}>
                  Show all conversations
                </Button>
              )
            }
          >
            {filtered
              ? "Try fewer words or another state."
              : "They appear here as soon as a customer writes."}
          </EmptyState>
        ) : (
          <>
            <ThreadTable threads={rows} />
            {threads.isError && (
              <ProblemBanner
                problem={problemOf(threads.error)}
                retry={() => void threads.fetchNextPage()}
              />
            )}
            {threads.hasNextPage && (
              <Button
                mt="md"
                variant="default"
                loading={threads.isFetchingNextPage}
                onClick={() => void threads.fetchNextPage()}
              >
                Load more
              </Button>
            )}
          </>
        )}
      </div>
    </main>
  );
}

const MOST_COUNTED = 100;

/** How many conversations a person has or is asked for; it counts anew while the tab is seen. */
function WaitingFilter({ on, onToggle }: { on: boolean; onToggle: (on: boolean) => void }) {
  const { api } = useSession();
  const waiting = api.query.useQuery(
    "get",
    "/api/threads",
    { params: { query: { status: "handed_off", limit: MOST_COUNTED } } },
    { refetchInterval: COUNT_AGAIN },
  );
  const count = waiting.data?.threads.length;
  const more = waiting.data?.next_cursor ? "+" : "";
  return (
    <Button
      variant={on ? "filled" : "default"}
      aria-pressed={on}
      leftSection={<Icon name="person" size={16} />}
      onClick={() => onToggle(!on)}
    >
      Waiting for a person{count === undefined ? "" : ` (${count}${more})`}
    </Button>
  );
}

function SearchField({ query, onQuery }: { query: string; onQuery: (text: string) => void }) {
  const [text, setText] = useState(query);
  const later = useDebouncedCallback(onQuery, 300);
  useEffect(() => setText(query), [query]);
  return (
    <TextInput
      type="search"
      className={classes.search}
      aria-label="Search conversations"
      placeholder="Search by title"
      leftSection={<Icon name="search" size={16} />}
      value={text}
      onChange={(event) => {
        setText(event.currentTarget.value);
        later(event.currentTarget.value.trim());
      }}
    />
  );
}
