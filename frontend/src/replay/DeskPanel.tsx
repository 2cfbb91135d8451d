import { Button, Group, TextInput } from "@mantine/core";
import { type ReactNode, useRef, useState } from "react";
import { problemOf, type Thread, useSession } from "../api/client";
import { draftKey } from "../api/sign-in";
import { Composer } from "../ui/Composer";
import { ProblemBanner } from "../ui/ErrorBanner";
import { Icon } from "../ui/icons";
import { LeadApprovals } from "./LeadApprovals";
import classes from "./replay.module.css";

const LONGEST_REMARK = 1_000;

interface DeskPanelProps {
  thread: Thread;
  /** What was said when a person was asked for last. */
  note: string;
  /** Reads what has happened since. */
  refresh: () => Promise<unknown>;
}

/** Who has the conversation, and what the lead can do about it. */
export function DeskPanel({ thread, note, refresh }: DeskPanelProps) {
  const { api, me, storage } = useSession();
  const [remark, setRemark] = useState<string | null>(null);
  const path = { thread_id: thread.id };
  // A refusal, too, means that something has changed.
  const options = { onSettled: () => refresh() };
  const take = api.query.useMutation("post", "/api/threads/{thread_id}/take-over", options);
  const answer = api.query.useMutation("post", "/api/threads/{thread_id}/messages", options);
  const giveBack = api.query.useMutation("post", "/api/threads/{thread_id}/give-back", options);
  const resolve = api.query.useMutation("post", "/api/threads/{thread_id}/resolve", options);
  const all = [take, answer, giveBack, resolve];
  const busy = take.isPending || giveBack.isPending || resolve.isPending;
  const forget = () => {
    for (const each of all) if (!each.isPending) each.reset();
  };
  const failed = all.find(({ isError }) => isError);

  // What may have arrived although no answer came keeps its id: it cannot become two.
  const unsure = useRef<{ id: string; text: string } | null>(null);
  const send = async (text: string) => {
    forget();
    const id = unsure.current?.text === text ? unsure.current.id : crypto.randomUUID();
    unsure.current = { id, text };
    try {
      await answer.mutateAsync({ params: { path }, body: { message_id: id, text } });
    } catch {
      return false; // said by the banner
    }
    unsure.current = null;
    return true;
  };

  const { with_person = false, assigned_to = null } = thread.handling ?? {};
  const mine = assigned_to === me.id;
  const others = assigned_to !== null && !mine;

  return (
    <section className={classes.desk} aria-label="Desk">
      <div className={classes.deskLine}>
        <p
          className={classes.deskWho}
          data-waits={with_person && assigned_to === null}
          role="status"
        >
          <Icon name={with_person ? "person" : "spark"} size={18} />
          <span>
            {whoHas(thread, mine)}
            {with_person && note !== "" && <span className={classes.deskNote}>{note}</span>}
          </span>
        </p>
        <Group gap={8}>
          {assigned_to === null && (
            <Button
              size="sm"
              variant={with_person ? "filled" : "default"}
              loading={take.isPending}
              disabled={busy}
              onClick={() => {
                forget();
                take.mutate({ params: { path } });
              }}
            >
              Take over
            </Button>
          )}
          {with_person && !others && (
            <Button
              size="sm"
              variant="default"
              disabled={busy}
              aria-expanded={remark !== null}
              onClick={() => setRemark(remark === null ? "" : null)}
            >
              Give back
            </Button>
          )}
          {with_person && !others && (
            <Button
              size="sm"
              variant="default"
              loading={resolve.isPending}
              disabled={busy}
              onClick={() => {
                forget();
                resolve.mutate({ params: { path } });
              }}
            >
              Resolve
            </Button>
          )}
        </Group>
      </div>
      <LeadApprovals threadId={thread.id} onDecided={refresh} />
      {failed !== undefined && <ProblemBanner problem={problemOf(failed.error)} />}
      {remark !== null && with_person && !others && (
        <Remark
          remark={remark}
          onRemark={setRemark}
          loading={giveBack.isPending}
          onGiveBack={() => {
            forget();
            giveBack.mutate(
              { params: { path }, body: { remark: remark.trim() } },
              { onSuccess: () => setRemark(null) },
            );
          }}
        />
      )}
      {mine && remark === null && (
        <Composer
          draftKey={draftKey(thread.id)}
          storage={storage}
          label={`Your answer to ${thread.customer.name}`}
          onSend={send}
        />
      )}
    </section>
  );
}

function whoHas({ handling, customer }: Thread, mine: boolean): ReactNode {
  if (handling?.with_person !== true) return "The agents answer here.";
  if (mine) return "You have this conversation.";
  if (handling.assigned_name !== null) return `${handling.assigned_name} has this conversation.`;
  const why = handling.reason === null ? "" : ` (${handling.reason.replaceAll("_", " ")})`;
  return `${customer.name} waits for a person${why}. The agents are silent.`;
}

interface RemarkProps {
  remark: string;
  onRemark: (remark: string) => void;
  loading: boolean;
  onGiveBack: () => void;
}

function Remark({ remark, onRemark, loading, onGiveBack }: RemarkProps) {
  const tooLong = [...remark].length > LONGEST_REMARK;
  return (
    <form
      className={classes.remark}
      aria-label="Give back"
      onSubmit={(event) => {
        event.preventDefault();
        if (!tooLong) onGiveBack();
      }}
    >
      <TextInput
        label="Remark for the agents only"
        value={remark}
        onChange={(event) => onRemark(event.currentTarget.value)}
        error={tooLong && `Up to ${LONGEST_REMARK.toLocaleString("en-GB")} characters`}
        autoFocus
      />
      <Button type="submit" loading={loading} disabled={tooLong}>
        Give back to the agents
      </Button>
    </form>
  );
}
