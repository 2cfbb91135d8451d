import { describe, expect, test } from "vitest";
import { fact, logOf, randomTimeline, seeded } from "../../tests-support/logs";
import type { Fact, ReplayEvent } from "../api/client";
import { failureFrom, failureLine, stepsOf } from "./steps";

const FAILED: Fact[] = [
  fact.wrote("m1", "Where is my order?"),
  fact.opened(),
  fact.called(),
  fact.refused("c1", 1),
  fact.refused("c1", 2),
  fact.attempt("c1", 3, {
    status: null,
    category: "timeout",
    outcome: "unknown",
    error: "ReadTimeout",
  }),
  fact.returned("c1", "failed"),
  fact.closed("failed"),
];

describe("a step", () => {
  test("stands for each event, in order, with its time since the beginning", () => {
    const steps = stepsOf(logOf(FAILED));

    expect(steps.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    const others = steps.filter(({ fact }) => fact.type !== "attempt_made");
    expect(others.map(({ offset }) => offset)).toEqual(others.map(({ seq }) => (seq - 1) * 1_000));
    expect(steps.map(({ depth }) => depth)).toEqual([0, 0, 1, 2, 2, 2, 1, 0]);
    expect(steps[0]?.gap).toBe(0);
    expect(steps[1]?.gap).toBe(1_000);
  });

  test("of an attempt says which it was, what came back, and how long it waited and took", () => {
    const [, , , first, second, third] = stepsOf(logOf(FAILED));

    expect(first).toMatchObject({
      title: "Attempt 1 of 3",
      detail: "GET /orders/1001 · 503 · retryable",
      failed: true,
      bar: { waited: 0, took: 120 },
    });
    expect(second?.bar).toEqual({ waited: 2_000, took: 120 });
    expect(third?.detail).toBe("GET /orders/1001 · ReadTimeout · timeout");
  });

  test("of a failed turn carries the code and the correlation id", () => {
    const last = stepsOf(logOf(FAILED)).at(-1);

    expect(last).toMatchObject({ title: "Turn failed", failed: true });
    expect(last?.detail).toContain("UPSTREAM_UNAVAILABLE");
    expect(last?.detail).toContain("ref cor-1");
  });

  test("of a decision says who decided and after how long", () => {
    const facts = [fact.called(), fact.asked(), fact.parked(), fact.decided("approved")];

    const steps = stepsOf(logOf(facts, 6_000));

    expect(steps[1]).toMatchObject({ title: "Asked for approval", tone: "wait" });
    expect(steps[2]).toMatchObject({ title: "Turn waits", detail: "for 1 approval" });
    expect(steps[3]).toMatchObject({ title: "Approved after 12.0 s", detail: "by cus_ada" });
    expect(stepsOf(logOf([fact.decided("expired")]))[0]?.title).toBe("Expired");
  });

  test.each([
    [fact.wrote("m1", "Hi"), "Customer wrote", "Hi"],
    [fact.opened("t1", 2), "Turn went on (run 2)", "Agent orders"],
    [fact.answered("r1", "a\n\n b"), "Agent answered", "a b"],
    [fact.answered("r1", "x".repeat(500)), "Agent answered", `${"x".repeat(239)}…`],
    [fact.handoff(), "Person asked for", "customer request · Wants to talk about order 1002"],
    [fact.wrote("m1", "Hi", "t2", true), "Customer wrote to the person", "Hi"],
    [fact.tookOver(), "Kim Osei took over", ""],
    [fact.personSaid("d1", "Hello\nAda"), "Kim Osei answered", "Hello Ada"],
    [fact.gaveBack("Be kind"), "Kim Osei gave back to the agents", "Be kind"],
    [fact.closed("done"), "Turn done", "4.1 s · 2 model calls · 1,000 tokens"],
    [fact.closed("cancelled"), "Turn stopped", "4.1 s · 2 model calls · 1,000 tokens"],
    [fact.changed(), "support handed over to orders", "It is about an order"],
    [fact.resolved(), "Marked as resolved", "by customer"],
    [fact.abandoned(), "Closed after silence", "24 h"],
    [fact.returned("c9", "unknown"), "Outcome unknown: Tool call", '{"status": "in transit"}'],
    [{ type: "from_the_future" } as unknown as Fact, "from_the_future", ""],
  ])("%#: %s", (each, title, detail) => {
    expect(stepsOf(logOf([each]))[0]).toMatchObject({ title, detail });
  });

  test("is made of any log there can be, and the quiet ones never count as failures", () => {
    for (let seed = 1; seed < 60; seed += 1) {
      const log = randomTimeline(seeded(seed)).filter((item): item is ReplayEvent => "seq" in item);
      const steps = stepsOf(log);

      expect(steps).toHaveLength(log.length);
      for (const step of steps) {
        expect(step.title).not.toBe("");
        expect(step.failed).toBe(step.tone === "bad");
      }
    }
  });
});

describe("failures", () => {
  const steps = stepsOf(logOf(FAILED));
  const failures = steps.filter(({ failed }) => failed);

  test("are found forwards and backwards, around the ends", () => {
    expect(failures.map(({ seq }) => seq)).toEqual([4, 5, 6, 7, 8]);
    expect(failureFrom(failures, 1, 1)?.seq).toBe(4);
    expect(failureFrom(failures, 8, 1)?.seq).toBe(4);
    expect(failureFrom(failures, 4, -1)?.seq).toBe(8);
    expect(failureFrom(failures, 6, -1)?.seq).toBe(5);
    expect(failureFrom([], 1, 1)).toBeNull();
    expect(failureFrom([], 1, -1)).toBeNull();
  });

  test("are told in one line", () => {
    const line = (index: number) => {
      const step = failures[index];
      return step && failureLine(steps, step, 8);
    };

    expect(line(0)).toBe("Failed at step 4 of 8: Look up an order, timeout, 3 attempts, 4.4 s");
    expect(line(4)).toBe("Failed at step 8 of 8: Turn failed");
    const alone = stepsOf(logOf([fact.called(), fact.returned("c1", "failed")]));
    expect(alone[1] && failureLine(alone, alone[1], 2)).toBe(
      "Failed at step 2 of 2: Look up an order",
    );
  });

  test("that a call got over are told as such", () => {
    const recovered = stepsOf(
      logOf([
        fact.called(),
        fact.refused("c1", 1),
        fact.attempt("c1", 2),
        fact.returned("c1", "done"),
      ]),
    );
    const failure = recovered.find(({ failed }) => failed);

    expect(failure && failureLine(recovered, failure, 4)).toMatch(/^Recovered after step 2 of 4: /);
  });

  test("of an attempt stand at its beginning, not at the end of its call", () => {
    const [call, attempt] = stepsOf(
      logOf([fact.called(), fact.attempt("c1", 1, { started_at: "2026-11-23T18:00:02.200Z" })]),
    );

    expect(attempt && call && attempt.offset).toBe(
      Date.parse("2026-11-23T18:00:02.200Z") - Date.parse(call?.at ?? ""),
    );
  });
});
