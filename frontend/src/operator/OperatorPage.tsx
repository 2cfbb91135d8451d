import { Anchor, Code, List, Text, Title } from "@mantine/core";
import { useSession } from "../api/client";
import frame from "../ui/frame.module.css";
import { usePageTitle } from "../ui/usePageTitle";
import classes from "./operator.module.css";

const COMMANDS = `smart-support import-spec ./openapi.yaml
smart-support operations <document>
smart-support decide <document> 'GET /orders' approve`;

/** What an operator can do today, and where. */
export function OperatorPage() {
  const { me } = useSession();
  usePageTitle("Operator");
  return (
    <main className={frame.page}>
      <div className={classes.column}>
        <Title order={1}>Hello {me.name}</Title>
        <Text mt="xs" c="var(--text-quiet)">
          You decide what the agent may do. An operation that nobody has approved cannot be called.
        </Text>
        <section className={classes.card}>
          <Title order={2}>From a terminal</Title>
          <Text mt="xs">Import an OpenAPI document, read what was found and why, then decide:</Text>
          <Code block mt="sm" tabIndex={0}>
            {COMMANDS}
          </Code>
        </section>
        <section className={classes.card}>
          <Title order={2}>By REST</Title>
          <List mt="xs" spacing={6}>
            <List.Item>import a document by file or by URL,</List.Item>
            <List.Item>
              read each operation with its suggested access, confirmation and owner, and the reason,
            </List.Item>
            <List.Item>correct and approve.</List.Item>
          </List>
          <Text mt="sm">
            <Anchor href="/api/openapi.json" c="var(--link)">
              Open the API’s OpenAPI document
            </Anchor>
          </Text>
        </section>
        <Text mt="lg" size="sm" c="var(--text-quiet)">
          A page for reviewing operations is planned; it is not part of this version.
        </Text>
      </div>
    </main>
  );
}
