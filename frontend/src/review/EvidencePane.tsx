import { Skeleton } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Fragment, type ReactNode, useEffect, useMemo, useRef } from "react";
import { type Evidence, problemOf, useSession } from "../api/client";
import { ProblemBanner } from "../ui/ErrorBanner";
import { plural } from "../ui/time";
import { quotedWords } from "./groups";
import classes from "./review.module.css";

interface EvidencePaneProps {
  operationId: string;
  version: number;
  reasons: readonly string[];
}

/** The document's lines about an operation. */
export function useEvidence(operationId: string, version: number) {
  const { api } = useSession();
  return useQuery({
    queryKey: ["evidence", operationId, version],
    queryFn: async ({ signal }) => {
      const { data, error } = await api.client.GET("/api/operations/{operation_id}/evidence", {
        params: { path: { operation_id: operationId } },
        signal,
      });
      if (data === undefined) throw error;
      return data;
    },
  });
}

/** The lines of the document that an operation was read from, with what the reasons quote. */
export function EvidencePane({ operationId, version, reasons }: EvidencePaneProps) {
  const evidence = useEvidence(operationId, version);
  if (evidence.isError)
    return (
      <ProblemBanner problem={problemOf(evidence.error)} retry={() => void evidence.refetch()} />
    );
  if (evidence.data === undefined)
    return <Skeleton height={220} radius="md" aria-label="Loading the document's lines" />;
  return <Excerpt evidence={evidence.data} reasons={reasons} />;
}

function Excerpt({ evidence, reasons }: { evidence: Evidence; reasons: readonly string[] }) {
  const pane = useRef<HTMLDivElement>(null);
  const marked = useMemo(() => {
    const words = quotedWords(reasons).map((word) => word.replace(/[^\p{L}\p{N}-]/gu, ""));
    return words.length === 0 ? null : new RegExp(`(${words.join("|")})`, "gi");
  }, [reasons]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another excerpt scrolls anew
  useEffect(() => {
    const first = pane.current?.querySelector<HTMLElement>("[data-own=true]");
    if (pane.current && first) pane.current.scrollTop = Math.max(0, first.offsetTop - 40);
  }, [evidence]);
  if (evidence.lines.length === 0)
    return (
      <p className={classes.quiet}>
        It is not written at its own place in {evidence.source}, but reached through references.
      </p>
    );
  return (
    <figure className={classes.evidence}>
      <figcaption className={classes.quiet}>
        {evidence.source}, line {evidence.document_line.toLocaleString("en-GB")}
        {evidence.reformatted &&
          ". The document has it on one long line; indented here for reading"}
      </figcaption>
      <div
        ref={pane}
        className={classes.lines}
        role="region"
        aria-label="Lines of the document"
        tabIndex={0}
      >
        <div className={classes.linesInner}>
          {evidence.lines.map((line, index) => {
            const number = evidence.first_line + index;
            const own = number >= evidence.highlight_first && number <= evidence.highlight_last;
            return (
              <div key={number} className={classes.line} data-own={own}>
                <span className={classes.lineNumber} aria-hidden="true">
                  {number}
                </span>
                <code>{own && marked ? mark(line, marked) : line || " "}</code>
              </div>
            );
          })}
        </div>
      </div>
      {evidence.left_out > 0 && (
        <p className={classes.quiet}>{plural(evidence.left_out, "more line")} not shown.</p>
      )}
    </figure>
  );
}

function mark(line: string, words: RegExp): ReactNode {
  return line.split(words).map((part, index) =>
    // Every second part is what was looked for; the place is all that tells parts apart.
    index % 2 === 1 ? (
      // biome-ignore lint/suspicious/noArrayIndexKey: parts of one line have no other name
      <mark key={index}>{part}</mark>
    ) : (
      // biome-ignore lint/suspicious/noArrayIndexKey: parts of one line have no other name
      <Fragment key={index}>{part}</Fragment>
    ),
  );
}
