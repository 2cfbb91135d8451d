import { ActionIcon, Text, Textarea } from "@mantine/core";
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import classes from "./composer.module.css";
import { Icon } from "./icons";
import { useCountdown } from "./useCountdown";

/** The longest message that the protocol takes, in characters. */
export const LONGEST_MESSAGE = 8_000;

interface ComposerProps {
  /** Where the draft is kept across reloads. */
  draftKey: string;
  storage: Storage;
  /** What is written here, as its field is called. */
  label?: string | undefined;
  /** False when the message could not be taken; the draft stays. */
  onSend: (text: string) => boolean | Promise<boolean>;
  onStop?: (() => void) | undefined;
  /** Text that comes back to be sent again. */
  returned?: string | undefined;
  onReturned?: (() => void) | undefined;
  /** Epoch milliseconds until which nothing may be sent. */
  limitedUntil?: number | undefined;
  /** Why, as a sentence. */
  limitedWhy?: string | null | undefined;
}

/** Where a message is written. Enter sends, Shift+Enter breaks the line. */
export function Composer(props: ComposerProps) {
  const { draftKey, storage, onSend, onStop, returned, onReturned, limitedUntil = 0 } = props;
  const { label = "Your message", limitedWhy } = props;
  const [draft, setDraft] = useState(() => storage.getItem(draftKey) ?? "");
  const [busy, setBusy] = useState(false);
  const wait = useCountdown(limitedUntil);
  const length = [...draft].length;
  const tooLong = length > LONGEST_MESSAGE;
  const canSend = draft.trim() !== "" && !tooLong && wait === 0 && !busy;

  const write = (text: string) => {
    setDraft(text);
    if (text === "") storage.removeItem(draftKey);
    else storage.setItem(draftKey, text);
  };

  useEffect(() => {
    if (returned === undefined) return;
    setDraft((current) => {
      const text = current === "" ? returned : `${returned}\n\n${current}`;
      storage.setItem(draftKey, text);
      return text;
    });
    onReturned?.();
  }, [returned, onReturned, storage, draftKey]);

  const input = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    // On a phone the keyboard would jump up unasked.
    if (window.matchMedia("(pointer: fine)").matches) input.current?.focus();
  }, []);

  const send = async () => {
    if (!canSend) return;
    const text = draft;
    write("");
    setBusy(true);
    const taken = await onSend(text.trim());
    setBusy(false);
    if (!taken) write(text);
    input.current?.focus();
  };

  const onKeyDown = (event: KeyboardEvent) => {
    // Enter also confirms a word in an input method; that must not send.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    void send();
  };

  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <div className={classes.box}>
        <Textarea
          ref={input}
          aria-label={label}
          placeholder="Write a message"
          variant="unstyled"
          autosize
          minRows={1}
          maxRows={9}
          value={draft}
          onChange={(event) => write(event.currentTarget.value)}
          onKeyDown={onKeyDown}
          error={tooLong}
          aria-describedby="composer-hint"
          className={classes.input}
        />
        {onStop && (
          <ActionIcon
            size={38}
            radius="xl"
            variant="default"
            aria-label="Stop answering"
            onClick={onStop}
          >
            <Icon name="stop" />
          </ActionIcon>
        )}
        <ActionIcon type="submit" size={38} radius="xl" aria-label="Send" disabled={!canSend}>
          <Icon name="send" />
        </ActionIcon>
      </div>
      <Text id="composer-hint" className={classes.hint} data-bad={tooLong}>
        {wait > 0
          ? `${limitedWhy ? `${limitedWhy} ` : ""}You can send again in ${wait} s. Your text is kept.`
          : length > LONGEST_MESSAGE - 1_000
            ? `${length.toLocaleString("en-GB")} of ${LONGEST_MESSAGE.toLocaleString("en-GB")} characters`
            : "Enter sends · Shift+Enter starts a new line"}
      </Text>
    </form>
  );
}
