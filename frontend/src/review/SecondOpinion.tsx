import { Button } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { type Api, type Problem, problemOf, useSession } from "../api/client";
import type { components } from "../api/schema.gen";
import { ProblemBanner } from "../ui/ErrorBanner";
import { plural } from "../ui/time";
import classes from "./review.module.css";

/** Operations asked about in one request; few, so that stopping does not wait long. */
const AT_ONCE = 20;

type Advice = components["schemas"]["Advice"];

interface Progress {
  asked: number;
  advised: number;
  unanswered: number;
}

/** Asks the model about what nobody has decided about, where the installation lets it. */
export function SecondOpinion({ specId }: { specId: string }) {
  const { api } = useSession();
  const queries = useQueryClient();
  const offer = api.query.useQuery("get", "/api/advice", {});
  const [progress, setProgress] = useState<Progress | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const going = useRef<AbortController | null>(null);
  useEffect(() => () => going.current?.abort(), []);

  const ask = async () => {
    const stop = new AbortController();
    going.current = stop;
    setBusy(true);
    setProblem(null);
    let so: Progress = { asked: 0, advised: 0, unanswered: 0 };
    let after: string | null = "";
    try {
      while (after !== null && !stop.signal.aborted) {
        setProgress(so);
        const page: Advice = await askAbout(api, specId, after, stop.signal);
        so = {
          asked: so.asked + page.asked,
          advised: so.advised + page.advised,
          unanswered: so.unanswered + page.unanswered.length,
        };
        after = page.next_after;
      }
    } catch (failure) {
      if (!stop.signal.aborted) setProblem(problemOf(failure));
    } finally {
      setProgress(so);
      setBusy(false);
      // What it said has changed suggestions, and with them the versions to decide about.
      await queries.invalidateQueries({ queryKey: ["operations", specId] });
    }
  };
  if (offer.data?.offered !== true) return null;
  return (
    <div className={classes.opinion}>
      <Button
        size="compact-sm"
        variant="default"
        onClick={() => (busy ? going.current?.abort() : void ask())}
      >
        {busy ? "Stop asking" : "Ask for a second opinion"}
      </Button>
      <span role="status" className={classes.quiet}>
        {progress !== null && wordsOf(progress, busy)}
      </span>
      {problem && <ProblemBanner problem={problem} />}
    </div>
  );
}

async function askAbout(api: Api, specId: string, after: string, signal: AbortSignal) {
  const { data, error } = await api.client.POST("/api/specs/{spec_id}/advice", {
    params: { path: { spec_id: specId }, query: { after, limit: AT_ONCE } },
    signal,
  });
  if (data === undefined) throw error;
  return data;
}

function wordsOf({ asked, advised, unanswered }: Progress, busy: boolean): string {
  if (busy) return `Asking the model; ${plural(asked, "operation")} so far.`;
  const silent = unanswered > 0 ? ` It gave no answer on ${unanswered}.` : "";
  return `The model's word stands beside ${plural(advised, "suggestion")}.${silent}`;
}
