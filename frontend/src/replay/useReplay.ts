import { useEffect, useMemo } from "react";
import { useSession } from "../api/client";

const PAGE = 500;

/** The whole log of a thread, page after page; what has arrived can be read already. */
export function useReplay(threadId: string) {
  const { api } = useSession();
  const replay = api.query.useInfiniteQuery(
    "get",
    "/api/threads/{thread_id}/replay",
    { params: { path: { thread_id: threadId }, query: { limit: PAGE } } },
    {
      pageParamName: "after",
      initialPageParam: 0,
      getNextPageParam: (page: { next_after: number | null }) => page.next_after ?? undefined,
      // Comparing ten thousand events with themselves costs more than drawing forty.
      structuralSharing: false,
      refetchOnWindowFocus: false,
      staleTime: 30_000,
    },
  );
  const { hasNextPage, isFetching, isError, fetchNextPage, data } = replay;
  useEffect(() => {
    if (hasNextPage && !isFetching && !isError) void fetchNextPage();
  }, [hasNextPage, isFetching, isError, fetchNextPage]);
  const events = useMemo(() => data?.pages.flatMap((page) => page.events) ?? [], [data]);
  return { replay, events, thread: data?.pages.at(-1)?.thread, complete: !hasNextPage };
}
