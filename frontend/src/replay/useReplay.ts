import { type InfiniteData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo } from "react";
import { type ReplayPage, useSession } from "../api/client";

const PAGE = 500;

/** How often a conversation that a person has is asked for news, in milliseconds. */
const NEWS = 2_000;

/**
 * The whole log of a thread, page after page; what has arrived can be read already.
 *
 * While a person has the conversation, or is asked for, what happens next comes by itself, as long
 * as the tab is seen. `refresh` asks at once.
 */
export function useReplay(threadId: string) {
  const { api } = useSession();
  const queries = useQueryClient();
  const path = { thread_id: threadId };
  const init = { params: { path, query: { limit: PAGE } } };
  const replay = api.query.useInfiniteQuery("get", "/api/threads/{thread_id}/replay", init, {
    pageParamName: "after",
    initialPageParam: 0,
    getNextPageParam: (page: { next_after: number | null }) => page.next_after ?? undefined,
    // Comparing ten thousand events with themselves costs more than drawing forty.
    structuralSharing: false,
    refetchOnWindowFocus: false,
    staleTime: 30_000,
  });
  const { hasNextPage, isFetching, isError, fetchNextPage, data } = replay;
  useEffect(() => {
    if (hasNextPage && !isFetching && !isError) void fetchNextPage();
  }, [hasNextPage, isFetching, isError, fetchNextPage]);
  const events = useMemo(() => data?.pages.flatMap((page) => page.events) ?? [], [data]);
  const thread = data?.pages.at(-1)?.thread;
  const complete = data !== undefined && !hasNextPage;

  const { queryKey } = api.query.queryOptions("get", "/api/threads/{thread_id}/replay", init);
  const news = useQuery({
    queryKey: ["news", threadId],
    queryFn: async ({ signal }) => {
      const known = () => queries.getQueryData<InfiniteData<ReplayPage, number>>(queryKey);
      const after = lastOf(known());
      const query = { limit: PAGE, after };
      const { data: page, error } = await api.client.GET("/api/threads/{thread_id}/replay", {
        params: { path, query },
        signal,
      });
      if (error) throw error;
      // Whoever was quicker has these events already.
      if (page !== undefined && lastOf(known()) === after)
        queries.setQueryData<InfiniteData<ReplayPage, number>>(
          queryKey,
          (now) => now && withNews(now, page, after),
        );
      return page?.thread.last_event_at ?? null;
    },
    enabled: complete && thread?.handling?.with_person === true,
    refetchInterval: NEWS,
    gcTime: 0,
  });
  return { replay, events, thread, complete, news, refresh: news.refetch };
}

type Pages = InfiniteData<ReplayPage, number>;

const lastOf = (pages: Pages | undefined) => pages?.pages.at(-1)?.events.at(-1)?.seq ?? 0;

/** A page that tells nothing new only says how the thread stands. */
function withNews(now: Pages, page: ReplayPage, after: number): Pages {
  const last = now.pages.at(-1);
  if (page.events.length > 0 && last?.events.length !== 0)
    return { pages: [...now.pages, page], pageParams: [...now.pageParams, after] };
  const events = [...(last?.events ?? []), ...page.events];
  return {
    pages: [...now.pages.slice(0, -1), { ...page, events }],
    pageParams: now.pageParams,
  };
}
