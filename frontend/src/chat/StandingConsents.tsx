import { Button } from "@mantine/core";
import { problemOf, useSession } from "../api/client";
import { ProblemBanner } from "../ui/ErrorBanner";
import { Icon } from "../ui/icons";
import { dayAndTime } from "../ui/time";
import classes from "./chat.module.css";
import type { Transcript } from "./transcript";

interface StandingConsentsProps {
  threadId: string;
  consents: Transcript["consents"];
}

/** What is done here without asking, because the customer said so; each can be taken back. */
export function StandingConsents({ threadId, consents }: StandingConsentsProps) {
  const { api } = useSession();
  const revoking = api.query.useMutation(
    "delete",
    "/api/threads/{thread_id}/consents/{consent_id}",
  );
  const standing = consents.filter(({ expiresAt }) => Date.parse(expiresAt) > Date.now());
  if (standing.length === 0) return null;
  return (
    <section className={classes.consents} aria-label="Done without asking">
      <ul>
        {standing.map(({ id, title, expiresAt }) => (
          <li key={id}>
            <Icon name="check" size={15} />
            <span>
              Done without asking: {title}, until {dayAndTime(expiresAt)}
            </span>
            <Button
              size="compact-sm"
              variant="default"
              loading={revoking.isPending}
              aria-label={`Ask me again: ${title}`}
              onClick={() =>
                revoking.mutate({
                  params: { path: { thread_id: threadId, consent_id: id } },
                })
              }
            >
              Ask me again
            </Button>
          </li>
        ))}
      </ul>
      {revoking.isError && <ProblemBanner problem={problemOf(revoking.error)} />}
    </section>
  );
}
