import { Button, CloseButton, Skeleton, Stack, Title } from "@mantine/core";
import { useNavigate } from "@tanstack/react-router";
import { problemOf, useSession } from "../api/client";
import { EmptyState } from "../ui/EmptyState";
import { ProblemBanner } from "../ui/ErrorBanner";
import { type CountedSearch, FIGURES, span } from "../ui/figures";
import frame from "../ui/frame.module.css";
import { plural } from "../ui/time";
import { usePageTitle } from "../ui/usePageTitle";
import classes from "./replay.module.css";
import { ThreadTable } from "./ThreadTable";

const PAGE = 50;

/** Exactly the conversations that a figure of the dashboard counts, and the part of each in it. */
export function CountedConversations({ which }: { which: CountedSearch }) {
  const { api } = useSession();
  const navigate = useNavigate({ from: "/replay" });
  const { title, parts } = FIGURES[which.figure];
  usePageTitle(title);
  const { figure, dimension, start, end } = which;
  const query = {
    figure,
    start,
    end,
    limit: PAGE,
    ...(dimension === undefined ? {} : { dimension }),
  };
  const list = api.query.useInfiniteQuery(
    "get",
    "/api/dashboard/conversations",
    { params: { query } },
    {
      pageParamName: "cursor",
      initialPageParam: null,
      getNextPageParam: (page: { next_cursor: string | null }) => page.next_cursor ?? undefined,
    },
  );
  const first = list.data?.pages[0];
  const rows = list.data?.pages.flatMap((page) => page.threads) ?? [];
  const shares = new Map(rows.map(({ id, part }) => [id, part]));
  const everything = () => void navigate({ search: {} });

  return (
    <main className={frame.page}>
      <div className={frame.column}>
        <Title order={1}>Conversations</Title>
        <div className={classes.chips}>
          <span className={classes.chip}>
            {[title, dimension === "" ? "without a code" : dimension, span(start, end)]
              .filter((word) => word !== undefined)
              .join(" · ")}
            <CloseButton
              size="sm"
              aria-label="Remove this filter and show all conversations"
              onClick={everything}
            />
          </span>
          {first !== undefined && (
            <span role="status" data-total={first.total}>
              {parts === null
                ? plural(first.total, "conversation")
                : first.conversations === null
                  ? plural(first.total, ...parts)
                  : `${plural(first.total, ...parts)} in ${plural(first.conversations, "conversation")}`}
            </span>
          )}
        </div>
        {list.isPending ? (
          <Stack gap={10} aria-label="Loading conversations" role="status">
            {[1, 2, 3, 4, 5].map((row) => (
              <Skeleton key={row} height={56} radius="md" />
            ))}
          </Stack>
        ) : list.isError && rows.length === 0 ? (
          <ProblemBanner problem={problemOf(list.error)} retry={() => void list.refetch()} />
        ) : rows.length === 0 ? (
          <EmptyState
            icon="search"
            title="This figure is zero: it counts no conversation"
            action={
              <Button variant="default" onClick={everything}>
                Show all conversations
              </Button>
            }
          />
        ) : (
          <>
            <ThreadTable
              threads={rows}
              {...(parts === null
                ? {}
                : {
                    part: {
                      title,
                      of: ({ id }) => (shares.get(id) ?? 0).toLocaleString("en-GB"),
                    },
                  })}
            />
            {list.isError && (
              <ProblemBanner
                problem={problemOf(list.error)}
                retry={() => void list.fetchNextPage()}
              />
            )}
            {list.hasNextPage && (
              <Button
                mt="md"
                variant="default"
                loading={list.isFetchingNextPage}
                onClick={() => void list.fetchNextPage()}
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
