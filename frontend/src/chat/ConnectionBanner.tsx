import { ErrorBanner } from "../ui/ErrorBanner";
import type { ChatState } from "./chat";

interface ConnectionBannerProps {
  state: ChatState;
  onRetry: () => void;
  onDismiss: () => void;
  /** Begins to ask for a person; absent where one cannot be asked, or was asked already. */
  onPerson?: (() => void) | undefined;
}

/** What stands between the customer and the answer, if anything. */
export function ConnectionBanner({ state, onRetry, onDismiss, onPerson }: ConnectionBannerProps) {
  const { connection, error } = state;
  if (connection.state === "closed" && connection.why === "no_chat")
    return (
      <ErrorBanner title="Chat is not open to your role">
        Open a customer’s sign-in link to write here.
      </ErrorBanner>
    );
  if (connection.state === "waiting")
    return (
      <ErrorBanner
        tone="waiting"
        title="The connection is lost. Reconnecting"
        until={connection.until}
        action={{ label: "Try now", run: onRetry }}
      >
        What you write is kept and sent once it is back.
      </ErrorBanner>
    );
  if (error !== null)
    return (
      <ErrorBanner
        title={error.message}
        code={error.code}
        correlationId={error.correlation_id}
        onClose={onDismiss}
      />
    );
  if (state.degraded[0] !== undefined)
    return (
      <ErrorBanner
        tone="waiting"
        title={state.degraded[0]}
        action={onPerson && { label: "Talk to a person", run: onPerson }}
      />
    );
  return null;
}
