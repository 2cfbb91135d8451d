import { ActionIcon, Button, Loader, Text } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useCallback, useEffect, useMemo, useState } from "react";
import { useStickToBottom } from "use-stick-to-bottom";
import { actionOf } from "../api/actions";
import { isMissing, problemOf, useSession } from "../api/client";
import { draftKey } from "../api/sign-in";
import { Composer } from "../ui/Composer";
import { EmptyState } from "../ui/EmptyState";
import { ProblemBanner } from "../ui/ErrorBanner";
import { Icon } from "../ui/icons";
import { StatusBadge } from "../ui/StatusBadge";
import { ApprovalActionsContext } from "../ui/transcript/ApprovalCard";
import { type WayOut, WayOutContext } from "../ui/transcript/ConnectionCard";
import type { MessageItem } from "../ui/transcript/items";
import { TranscriptItem } from "../ui/transcript/TranscriptItem";
import { usePageTitle } from "../ui/usePageTitle";
import { AskForPerson } from "./AskForPerson";
import { useChat } from "./ChatLayout";
import { ConnectionBanner } from "./ConnectionBanner";
import classes from "./chat.module.css";
import { ListButton } from "./ListButton";
import { OutgoingMessage } from "./OutgoingMessage";
import { StandingConsents } from "./StandingConsents";
import { emptyTranscript } from "./transcript";

/** How many items are drawn at first; older ones on request. */
const DRAWN = 120;

export function ConversationPage() {
  const { threadId } = useParams({ from: "/customer/chat/$threadId" });
  return <Conversation key={threadId} threadId={threadId} />;
}

function Conversation({ threadId }: { threadId: string }) {
  const { api, storage } = useSession();
  const { chat, state } = useChat();
  const queries = useQueryClient();
  const thread = api.query.useQuery("get", "/api/threads/{thread_id}", {
    params: { path: { thread_id: threadId } },
  });
  const resolving = api.query.useMutation("post", "/api/threads/{thread_id}/resolve");
  const blank = useMemo(() => emptyTranscript(threadId), [threadId]);
  const transcript = state.threads.get(threadId) ?? blank;
  const exists = !thread.isError;
  useEffect(() => {
    if (exists) chat.follow(threadId);
  }, [chat, threadId, exists]);

  const answering = transcript.openRun !== null;
  const waits = transcript.before !== null;
  const { status } = transcript;
  useEffect(() => {
    if (!transcript.live || answering || !status) return;
    // Titles, states and times follow what happens here. The list after the thread itself: reading
    // a thread is what brings its state up to date on the server.
    void queries
      .invalidateQueries({ queryKey: ["get", "/api/threads/{thread_id}"] })
      .then(() => queries.invalidateQueries({ queryKey: ["get", "/api/threads"] }));
  }, [queries, transcript.live, answering, status]);

  const title = thread.data?.title || "New conversation";
  usePageTitle(title);
  const { scrollRef, contentRef, isAtBottom, scrollToBottom } = useStickToBottom({
    initial: "instant",
    resize: "instant",
  });
  const connected = state.connection.state === "ready";
  const approvals = useMemo(
    () => ({
      decide: chat.decide,
      deciding: state.deciding,
      errors: state.decisionErrors,
      connected,
    }),
    [chat, state.deciding, state.decisionErrors, connected],
  );
  const wayOut = useCallback<WayOut>(
    async (spec_id, scheme) => {
      const { data, error } = await api.client.GET("/api/connect/{spec_id}/{scheme}", {
        params: { path: { spec_id, scheme } },
      });
      if (data === undefined) throw error;
      return data.url;
    },
    [api],
  );
  const onReturned = useCallback(() => chat.takeReturned(threadId), [chat, threadId]);
  const [drawn, setDrawn] = useState(DRAWN);
  const [asking, setAsking] = useState(false);

  if (thread.isError && isMissing(problemOf(thread.error)))
    return (
      <main className={classes.main}>
        <header className={classes.bar}>
          <ListButton />
        </header>
        <EmptyState order={1} icon="chat" title="There is no such conversation">
          It may belong to another account, or the link is incomplete.
        </EmptyState>
      </main>
    );

  const { items, outbox } = transcript;
  const last = items.at(-1);
  const speaking =
    last?.kind === "message" && last.role === "assistant" && last.state === "streaming";
  const offer = last?.kind === "notice" && last.tone === "error" ? actionOf(last.code) : null;
  const question = items.findLast(
    (item): item is MessageItem => item.kind === "message" && item.role === "user",
  );
  const hiddenCount = Math.max(0, items.length - drawn);
  const settled = transcript.status === "resolved" || transcript.status === "abandoned";
  // The socket knows first; REST knows before the past has arrived.
  const withPerson = transcript.live
    ? status === "handed_off"
    : thread.data?.handling?.with_person !== false;
  const send = (text: string) => {
    const taken = chat.send(threadId, text);
    if (taken) void scrollToBottom({ animation: "instant" });
    return taken;
  };

  return (
    <main className={classes.main}>
      <header className={classes.bar}>
        <ListButton />
        <h1 className={classes.barTitle}>{title}</h1>
        {thread.data && <StatusBadge status={thread.data.status} />}
        {!withPerson && (
          <Button
            size="compact-sm"
            variant="subtle"
            color="gray"
            aria-label="Talk to a person"
            aria-expanded={asking}
            leftSection={<Icon name="person" size={15} />}
            classNames={{ section: classes.personIcon }}
            onClick={() => setAsking(!asking)}
          >
            <span className={classes.wide}>Talk to a person</span>
          </Button>
        )}
        {items.length > 0 && !settled && (
          <Button
            size="compact-sm"
            variant="default"
            loading={resolving.isPending}
            leftSection={<Icon name="check" size={15} />}
            onClick={() => resolving.mutate({ params: { path: { thread_id: threadId } } })}
          >
            <span className={classes.wide}>Mark as resolved</span>
            <span className={classes.narrow}>Resolve</span>
          </Button>
        )}
      </header>
      {asking && !withPerson && (
        <AskForPerson
          threadId={threadId}
          onDone={() => {
            setAsking(false);
            void thread.refetch();
          }}
          onCancel={() => setAsking(false)}
        />
      )}
      <div
        ref={scrollRef}
        className={classes.scroll}
        tabIndex={0}
        role="log"
        aria-live="off"
        aria-label="Conversation"
      >
        <div ref={contentRef} className={classes.items}>
          {!transcript.live && items.length === 0 && outbox.length === 0 && (
            <Loader className={classes.loader} aria-label="Loading the conversation" />
          )}
          {transcript.live && items.length === 0 && outbox.length === 0 && (
            <EmptyState icon="chat" title="Nothing has been said yet">
              Write your first message below.
            </EmptyState>
          )}
          {hiddenCount > 0 && (
            <Button
              variant="subtle"
              size="compact-sm"
              className={classes.earlier}
              onClick={() => setDrawn(drawn + DRAWN)}
            >
              Show earlier messages ({hiddenCount})
            </Button>
          )}
          <ApprovalActionsContext.Provider value={approvals}>
            <WayOutContext.Provider value={wayOut}>
              {items.slice(hiddenCount).map((item) => (
                <TranscriptItem key={`${item.kind}-${item.id}`} item={item} />
              ))}
            </WayOutContext.Provider>
          </ApprovalActionsContext.Provider>
          {!answering && offer === "hand_off" && !withPerson && !asking && (
            <Offer label="Talk to a person" run={() => setAsking(true)}>
              A person can go on from here.
            </Offer>
          )}
          {!answering && offer === "retry" && question !== undefined && connected && (
            <Offer label="Send it again" run={() => send(question.text)}>
              It may work now.
            </Offer>
          )}
          {answering && !speaking && <Working />}
          {transcript.before !== null && <InLine before={transcript.before} />}
          {outbox.map((message) => (
            <OutgoingMessage
              key={message.id}
              message={message}
              connected={connected}
              onResend={() => chat.resend(threadId, message.id)}
              onDiscard={() => chat.discard(threadId, message.id)}
            />
          ))}
        </div>
      </div>
      <div className={classes.foot}>
        {!isAtBottom && (
          <ActionIcon
            className={classes.toBottom}
            variant="default"
            radius="xl"
            size={36}
            aria-label="Go to the latest message"
            onClick={() => void scrollToBottom()}
          >
            <Icon name="down" />
          </ActionIcon>
        )}
        <ConnectionBanner
          state={state}
          onRetry={chat.retryNow}
          onDismiss={chat.dismissError}
          onPerson={withPerson || asking ? undefined : () => setAsking(true)}
        />
        <StandingConsents threadId={threadId} consents={transcript.consents} />
        {thread.isError && (
          <ProblemBanner problem={problemOf(thread.error)} retry={() => void thread.refetch()} />
        )}
        {resolving.isError && <ProblemBanner problem={problemOf(resolving.error)} />}
        <Composer
          draftKey={draftKey(threadId)}
          storage={storage}
          onSend={send}
          onStop={(answering || waits) && connected ? () => chat.cancel(threadId) : undefined}
          returned={state.returned.get(threadId)}
          onReturned={onReturned}
          limitedUntil={state.limitedUntil}
          limitedWhy={state.limitedWhy}
        />
      </div>
    </main>
  );
}

/** What can be done about the error above. */
function Offer({ label, run, children }: { label: string; run: () => void; children: string }) {
  return (
    <div className={classes.working}>
      <Text size="sm" c="dimmed">
        {children}
      </Text>
      <Button size="compact-sm" variant="default" onClick={run}>
        {label}
      </Button>
    </div>
  );
}

/** Others are answered first. */
function InLine({ before }: { before: number }) {
  const place =
    before === 0
      ? "You are next."
      : `${before} ${before === 1 ? "other is" : "others are"} before you.`;
  return (
    <div className={classes.working} role="status">
      <Icon name="clock" size={15} />
      <Text size="sm" c="dimmed">
        Many people are writing at the moment. {place}
      </Text>
    </div>
  );
}

function Working() {
  return (
    <div className={classes.working}>
      <span aria-hidden="true" className={classes.dots}>
        <i />
        <i />
        <i />
      </span>
      <Text size="sm" c="dimmed">
        Working on it…
      </Text>
    </div>
  );
}
