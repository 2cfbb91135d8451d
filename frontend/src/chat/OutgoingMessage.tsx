import { Button, Group, Text } from "@mantine/core";
import { Icon } from "../ui/icons";
import classes from "./chat.module.css";
import type { Outgoing } from "./transcript";

interface OutgoingMessageProps {
  message: Outgoing;
  connected: boolean;
  onResend: () => void;
  onDiscard: () => void;
}

/** A message that is on its way: shown at once, and honest about how far it has come. */
export function OutgoingMessage({ message, connected, onResend, onDiscard }: OutgoingMessageProps) {
  const words = {
    sending: connected ? "Sending…" : "Waiting for the connection",
    stored: "Sent",
    queued: "Sent – answered after the current message",
    to_person: "Sent – a person will answer",
    refused: "Not sent",
  }[message.state];
  return (
    <article className={classes.outgoing} data-state={message.state}>
      <p className={classes.outgoingText}>{message.text}</p>
      <Text size="xs" className={classes.outgoingState}>
        <Icon name={message.state === "refused" ? "warning" : "clock"} size={13} /> {words}
      </Text>
      {message.error && (
        <div role="alert" className={classes.refusal}>
          <Text size="sm">{message.error.message}</Text>
          <Text size="xs" c="dimmed">
            {message.error.code} · ref {message.error.correlationId}
          </Text>
          <Group gap={8} mt={6}>
            <Button size="compact-sm" variant="default" onClick={onResend}>
              Send again
            </Button>
            <Button size="compact-sm" variant="subtle" color="gray" onClick={onDiscard}>
              Discard
            </Button>
          </Group>
        </div>
      )}
    </article>
  );
}
