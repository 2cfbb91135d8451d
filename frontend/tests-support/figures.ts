/** Figures to test the dashboard with. */

import type { components } from "../src/api/schema.gen";
import type { Activity, Cohort, Point } from "../src/dashboard/figures";
import type { FakeServer } from "./server";
import { json, threadOf } from "./server";

export const COHORT: Cohort = {
  conversations: 60,
  handled: 50,
  answered: 48,
  resolved: 36,
  resolved_alone: 30,
  handed_off: 10,
  abandoned: 5,
  reopened: 3,
  handoff_reasons: { customer_request: 8, tool_failure: 2 },
  median_first_reply_ms: 2_100,
  auto_resolution_rate: 0.6,
  handoff_rate: 0.2,
};

export const ACTIVITY: Activity = {
  opened: 60,
  resolved: 40,
  abandoned: 5,
  reopened: 3,
  handed_off: 11,
  handoffs: { customer_request: 9, tool_failure: 2 },
  messages: 200,
  replies: 190,
  turns: 199,
  turns_done: 190,
  turns_cancelled: 4,
  failed: 5,
  turns_failed: { MODEL_UNAVAILABLE: 2, "": 3 },
  response: { answered: 193, median_ms: 4_000, p95_ms: 12_000 },
  mean_first_token_ms: 800,
  mean_turn_ms: 4_100,
  input_tokens: 90_000,
  output_tokens: 10_000,
  tokens: 100_000,
  tool_calls: 120,
  tool_errors: 11,
  tool_error_rate: 0.1,
  retries: 9,
  operations: [
    {
      operation: "getOrder",
      calls: 110,
      done: 90,
      failed: 9,
      declined: 0,
      unknown: 1,
      errors: 10,
      attempts: 119,
      retries: 9,
      mean_attempt_ms: 84.5,
      error_rate: 0.1,
      retries_per_call: 0.08,
    },
    {
      operation: "createRefund",
      calls: 10,
      done: 6,
      failed: 0,
      declined: 3,
      unknown: 1,
      errors: 1,
      attempts: 7,
      retries: 0,
      mean_attempt_ms: null,
      error_rate: 0.14,
      retries_per_call: 0,
    },
  ],
  approvals: { asked: 10, approved: 6, rejected: 3, expired: 1 },
};

export const QUIET_COHORT: Cohort = {
  conversations: 0,
  handled: 0,
  answered: 0,
  resolved: 0,
  resolved_alone: 0,
  handed_off: 0,
  abandoned: 0,
  reopened: 0,
  handoff_reasons: {},
  median_first_reply_ms: null,
  auto_resolution_rate: null,
  handoff_rate: null,
};

export const QUIET_ACTIVITY: Activity = {
  opened: 0,
  resolved: 0,
  abandoned: 0,
  reopened: 0,
  handed_off: 0,
  handoffs: {},
  messages: 0,
  replies: 0,
  turns: 0,
  turns_done: 0,
  turns_cancelled: 0,
  failed: 0,
  turns_failed: {},
  response: { answered: 0, median_ms: null, p95_ms: null },
  mean_first_token_ms: null,
  mean_turn_ms: null,
  input_tokens: 0,
  output_tokens: 0,
  tokens: 0,
  tool_calls: 0,
  tool_errors: 0,
  tool_error_rate: null,
  retries: 0,
  operations: [],
  approvals: { asked: 0, approved: 0, rejected: 0, expired: 0 },
};

const point = (start: string, end: string, opened: number): Point => ({
  start,
  end,
  opened,
  resolved: opened / 2,
  handed_off: 1,
  replies: opened * 3,
  failed: 0,
  responses: opened * 3,
  median_ms: 4_000,
  p95_ms: 12_000,
  tool_calls: opened * 2,
  tool_errors: 2,
  retries: 1,
  approvals_asked: 1,
  input_tokens: 9_000,
  output_tokens: 1_000,
});

export const POINTS: Point[] = [
  point("2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z", 40),
  point("2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z", 20),
];

/** An installation without a care, as the settings page tells it. */
export const HEALTHY: components["schemas"]["Details"] = {
  version: "0.1.0",
  revision: "0003",
  model: { name: "gpt-test", offline: false },
  dependencies: [],
  processes: ["desk:17"],
  upstreams: [],
  limits: [],
};

/** Have `server` answer with these figures, and remember what it was asked. */
export function giveFigures(server: FakeServer, cohort = COHORT, activity = ACTIVITY): void {
  const range = (url: URL) => ({
    start: url.searchParams.get("start"),
    end: url.searchParams.get("end"),
  });
  server.routes["GET /api/dashboard/cohort"] = (url) => json({ ...range(url), cohort });
  server.routes["GET /api/dashboard"] = (url) => json({ ...range(url), activity });
  server.routes["GET /api/health/details"] = () => json(HEALTHY);
  server.routes["GET /api/dashboard/series"] = () => json({ points: POINTS });
  server.routes["GET /api/dashboard/conversations"] = (url) =>
    json({
      ...range(url),
      total: 17,
      conversations: 1,
      threads: [{ ...threadOf(), part: 17 }],
      next_cursor: null,
    });
}
