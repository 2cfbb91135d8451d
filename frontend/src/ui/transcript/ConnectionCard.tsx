import { Button, Text } from "@mantine/core";
import { createContext, useContext, useState } from "react";
import { type Problem, problemOf } from "../../api/client";
import { ProblemBanner } from "../ErrorBanner";
import { Icon } from "../icons";
import type { ConnectionItem } from "./items";
import classes from "./transcript.module.css";

/** Where the customer gives their permission; throws what the server said instead. */
export type WayOut = (specId: string, scheme: string) => Promise<string>;

/** Absent where the transcript is only read. */
export const WayOutContext = createContext<WayOut | null>(null);

/** Something needs the customer's own account at another service, and how to connect it. */
export function ConnectionCard({ item }: { item: ConnectionItem }) {
  const wayOut = useContext(WayOutContext);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [gone, setGone] = useState(false);
  const titleId = `connection-${item.id}`;
  const leave = async (find: WayOut) => {
    setProblem(null);
    // Opened at once, since browsers let nobody open a window later than the click.
    const tab = window.open("about:blank", "_blank");
    try {
      const url = await find(item.specId, item.scheme);
      if (tab === null) {
        window.location.assign(url);
        return;
      }
      tab.opener = null;
      tab.location.replace(url);
      setGone(true);
    } catch (failure) {
      tab?.close();
      setProblem(problemOf(failure));
    }
  };
  return (
    <section className={classes.approval} aria-labelledby={titleId}>
      <header className={classes.approvalHead}>
        <Icon name="lock" size={20} />
        <Text fw={600} id={titleId}>
          Connect your account first
        </Text>
      </header>
      <Text size="sm">
        “{item.title}” needs your own permission at the service behind it. Nothing was sent.
      </Text>
      {wayOut !== null && (
        <Button mt="sm" onClick={() => void leave(wayOut)}>
          {gone ? "Open it again" : "Connect my account"}
        </Button>
      )}
      {gone && (
        <Text size="sm" mt="xs" role="status">
          Give your permission in the new window, then ask again here.
        </Text>
      )}
      {problem && <ProblemBanner problem={problem} />}
    </section>
  );
}
