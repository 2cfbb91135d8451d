import { ActionIcon, Button, Code, Group, Text } from "@mantine/core";
import { type ReactNode, useEffect, useRef, useState } from "react";
import type { Problem } from "../api/client";
import { Icon, type IconName } from "./icons";
import classes from "./ui.module.css";
import { useCountdown } from "./useCountdown";

export interface ErrorBannerProps {
  tone?: "error" | "waiting";
  title: string;
  children?: ReactNode;
  code?: string | null | undefined;
  correlationId?: string | null | undefined;
  /** Epoch milliseconds; the banner counts down to it. */
  until?: number | undefined;
  action?: { label: string; run: () => void } | undefined;
  onClose?: (() => void) | undefined;
}

/** What is wrong, what happens next, and what can be done about it. */
export function ErrorBanner(props: ErrorBannerProps) {
  const { tone = "error", title, children, code, correlationId, until, action, onClose } = props;
  const icon: IconName = tone === "waiting" ? "clock" : "warning";
  return (
    <div className={classes.banner} data-tone={tone} role={tone === "error" ? "alert" : "status"}>
      <Icon name={icon} size={20} />
      <div className={classes.bannerText}>
        <Text fw={600} size="sm">
          {title}
          {until !== undefined && <Seconds until={until} />}
        </Text>
        {children && <Text size="sm">{children}</Text>}
        {(code || correlationId) && (
          <Group gap={6} mt={4}>
            {code && <Code className={classes.code}>{code}</Code>}
            {correlationId && <Code className={classes.code}>ref {correlationId}</Code>}
          </Group>
        )}
      </div>
      {action && (
        <Button size="compact-sm" variant="default" onClick={action.run}>
          {action.label}
        </Button>
      )}
      {onClose && (
        <ActionIcon variant="subtle" color="gray" aria-label="Dismiss" onClick={onClose}>
          <Icon name="cross" size={16} />
        </ActionIcon>
      )}
    </div>
  );
}

function Seconds({ until }: { until: number }) {
  const seconds = useCountdown(until);
  // Each second would be an announcement of its own.
  return <span aria-hidden="true">{seconds > 0 ? ` in ${seconds} s` : " now"}</span>;
}

/** A failed request in words. What may pass by itself is tried again by itself, less and less often. */
export function ProblemBanner({ problem, retry }: { problem: Problem; retry?: () => void }) {
  const until = useRetry(problem, retry);
  return (
    <ErrorBanner
      tone={problem.retry_after === null ? "error" : "waiting"}
      title={problem.title}
      code={problem.code}
      correlationId={problem.correlation_id}
      action={retry ? { label: "Try again", run: retry } : undefined}
    >
      {problem.detail}
      {until !== null && (
        <Text size="sm" component="span" display="block">
          Trying again
          <Seconds until={until} />
        </Text>
      )}
    </ErrorBanner>
  );
}

const FIRST_PAUSE = 5;
const LONGEST_PAUSE = 40;

/** When the next try is made (epoch milliseconds); null if none is made without being asked. */
function useRetry(problem: Problem, retry: (() => void) | undefined): number | null {
  const { code, retry_after } = problem;
  const passes = code === "UNREACHABLE" || code === "SERVER_DOWN" || retry_after !== null;
  const waits = passes && retry !== undefined;
  const latest = useRef(retry);
  latest.current = retry;
  const [tries, setTries] = useState(0);
  const [until, setUntil] = useState<number | null>(null);
  useEffect(() => {
    if (!waits) {
      setUntil(null);
      return;
    }
    const pause = Math.max(retry_after ?? 0, Math.min(FIRST_PAUSE * 2 ** tries, LONGEST_PAUSE));
    setUntil(Date.now() + pause * 1_000);
    const timer = setTimeout(() => {
      latest.current?.();
      setTries(tries + 1);
    }, pause * 1_000);
    return () => clearTimeout(timer);
  }, [waits, retry_after, tries]);
  return until;
}
