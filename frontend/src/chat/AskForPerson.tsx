import { Button, Group, Text, Textarea } from "@mantine/core";
import { useState } from "react";
import { problemOf, useSession } from "../api/client";
import { ProblemBanner } from "../ui/ErrorBanner";
import classes from "./chat.module.css";

/** The longest note that is taken with the wish, in characters. */
const LONGEST_NOTE = 1_000;

interface AskForPersonProps {
  threadId: string;
  onDone: () => void;
  onCancel: () => void;
}

/** Asks once more before a person is called, and takes what they should know. */
export function AskForPerson({ threadId, onDone, onCancel }: AskForPersonProps) {
  const { api } = useSession();
  const [note, setNote] = useState("");
  const asking = api.query.useMutation("post", "/api/threads/{thread_id}/handoff", {
    onSuccess: onDone,
  });
  const tooLong = [...note].length > LONGEST_NOTE;
  const ask = () => {
    if (tooLong || asking.isPending) return;
    asking.mutate({ params: { path: { thread_id: threadId } }, body: { note: note.trim() } });
  };
  return (
    <form
      className={classes.asking}
      aria-label="Talk to a person"
      onKeyDown={(event) => event.key === "Escape" && onCancel()}
      onSubmit={(event) => {
        event.preventDefault();
        ask();
      }}
    >
      <div className={classes.askingInner}>
        <Text size="sm">A person from the team will answer here instead of the assistant.</Text>
        <Textarea
          label="What should they know? (optional)"
          autosize
          minRows={1}
          maxRows={4}
          value={note}
          onChange={(event) => setNote(event.currentTarget.value)}
          error={tooLong && `Up to ${LONGEST_NOTE.toLocaleString("en-GB")} characters`}
          autoFocus
        />
        {asking.isError && <ProblemBanner problem={problemOf(asking.error)} />}
        <Group gap={8}>
          <Button type="submit" size="sm" loading={asking.isPending} disabled={tooLong}>
            Ask for a person
          </Button>
          <Button size="sm" variant="default" onClick={onCancel}>
            Cancel
          </Button>
        </Group>
      </div>
    </form>
  );
}
