import { Title } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { problemOf, useSession } from "../api/client";
import { draftKey } from "../api/sign-in";
import { Composer } from "../ui/Composer";
import { ProblemBanner } from "../ui/ErrorBanner";
import { Icon } from "../ui/icons";
import { usePageTitle } from "../ui/usePageTitle";
import { useChat } from "./ChatLayout";
import { ConnectionBanner } from "./ConnectionBanner";
import classes from "./chat.module.css";
import { ListButton } from "./ListButton";

const SUGGESTIONS = [
  "Where is my order 1001?",
  "I want a refund for order 1002",
  "When does my parcel arrive?",
  "I would like to return something",
];

/** The beginning: a thread is made with the first message, so that none stays empty. */
export function NewConversation() {
  const { api, me, storage } = useSession();
  const { chat, state } = useChat();
  const navigate = useNavigate();
  const queries = useQueryClient();
  const opening = api.query.useMutation("post", "/api/threads");
  const [asked, setAsked] = useState<string | null>(null);
  usePageTitle("Chat");

  const begin = async (text: string): Promise<boolean> => {
    setAsked(text);
    try {
      const thread = await opening.mutateAsync({});
      chat.follow(thread.id);
      chat.send(thread.id, text);
      void queries.invalidateQueries({ queryKey: ["get", "/api/threads"] });
      await navigate({ to: "/chat/$threadId", params: { threadId: thread.id } });
      return true;
    } catch {
      // `opening.error` says it to the person.
      return false;
    }
  };

  const name = me.name.split(" ")[0];
  return (
    <main className={classes.main}>
      <header className={classes.bar}>
        <ListButton />
        <span className={classes.barTitle}>New conversation</span>
      </header>
      <div className={classes.welcome}>
        <span className={classes.welcomeIcon}>
          <Icon name="spark" size={30} />
        </span>
        <Title order={1}>{name ? `Hello ${name}, how can we help?` : "How can we help?"}</Title>
        <p className={classes.lead}>
          Ask about an order, a delivery, a return or a refund. Nothing is changed before you say
          yes.
        </p>
        <ul className={classes.suggestions} aria-label="Suggestions">
          {SUGGESTIONS.map((text) => (
            <li key={text}>
              <button type="button" disabled={opening.isPending} onClick={() => void begin(text)}>
                {text}
              </button>
            </li>
          ))}
        </ul>
      </div>
      <div className={classes.foot}>
        <ConnectionBanner state={state} onRetry={chat.retryNow} onDismiss={chat.dismissError} />
        {opening.isError && (
          <ProblemBanner
            problem={problemOf(opening.error)}
            {...(asked === null ? {} : { retry: () => void begin(asked) })}
          />
        )}
        <Composer draftKey={draftKey(null)} storage={storage} onSend={begin} />
      </div>
    </main>
  );
}
