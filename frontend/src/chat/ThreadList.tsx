import { Button, Skeleton, Stack, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { problemOf, useSession } from "../api/client";
import { ProblemBanner } from "../ui/ErrorBanner";
import { StatusBadge } from "../ui/StatusBadge";
import { ago } from "../ui/time";
import classes from "./chat.module.css";

const PAGE = 30;

export function ThreadList({ onChoose }: { onChoose: () => void }) {
  const { api } = useSession();
  const threads = api.query.useInfiniteQuery(
    "get",
    "/api/threads",
    { params: { query: { limit: PAGE } } },
    {
      pageParamName: "cursor",
      initialPageParam: null,
      getNextPageParam: (page: { next_cursor: string | null }) => page.next_cursor ?? undefined,
    },
  );
  if (threads.isPending)
    return (
      <Stack gap={8} aria-hidden="true">
        {[1, 2, 3].map((row) => (
          <Skeleton key={row} height={52} radius="md" />
        ))}
      </Stack>
    );
  if (threads.isError)
    return <ProblemBanner problem={problemOf(threads.error)} retry={() => threads.refetch()} />;
  const rows = threads.data.pages.flatMap((page) => page.threads);
  if (rows.length === 0)
    return (
      <Text size="sm" c="dimmed" ta="center" mt="md">
        Conversations that you start are kept here.
      </Text>
    );
  return (
    <>
      <ul className={classes.threads}>
        {rows.map((thread) => (
          <li key={thread.id}>
            <Link
              to="/chat/$threadId"
              params={{ threadId: thread.id }}
              className={classes.thread}
              activeProps={{ "aria-current": "page" }}
              onClick={onChoose}
            >
              <span className={classes.threadTitle}>{thread.title || "New conversation"}</span>
              <span className={classes.threadMeta}>
                <StatusBadge status={thread.status} />
                <span>{ago(thread.last_event_at, Date.now())}</span>
              </span>
            </Link>
          </li>
        ))}
      </ul>
      {threads.hasNextPage && (
        <Button
          variant="subtle"
          size="compact-sm"
          loading={threads.isFetchingNextPage}
          onClick={() => threads.fetchNextPage()}
        >
          Older conversations
        </Button>
      )}
    </>
  );
}
