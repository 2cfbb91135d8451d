import { describe, expect, test, vi } from "vitest";
import { json, problem } from "../../tests-support/server";
import { createApi, isMissing, problemOf } from "./client";

const api = (fetch: (request: Request) => Promise<Response>, onSignedOut = () => {}) =>
  createApi({ fetch, token: "secret", onSignedOut }).client;

async function failure(work: Promise<{ error?: unknown }>): Promise<unknown> {
  try {
    return (await work).error;
  } catch (error) {
    return error;
  }
}

describe("the client", () => {
  test("carries the token in its header", async () => {
    const fetch = vi.fn(async (_: Request) => json({}));

    await api(fetch).GET("/api/me");

    const request = fetch.mock.calls[0]?.[0];
    expect(request?.headers.get("authorization")).toBe("Bearer secret");
    expect(request?.url).not.toContain("secret");
  });

  test("tells when the sign-in is over, and only then", async () => {
    const over = vi.fn();

    await api(async () => problem(403, "AUTH_NOT_ALLOWED", "No."), over).GET("/api/me");
    expect(over).not.toHaveBeenCalled();
    await api(async () => problem(401, "AUTH_NOT_SIGNED_IN", "No."), over).GET("/api/me");
    expect(over).toHaveBeenCalledOnce();
  });
});

describe("a failure", () => {
  test("that is a problem document keeps its code and its reference", async () => {
    const answer = async () => problem(409, "CONV_APPROVAL_EXPIRED", "Too late.");

    const found = problemOf(await failure(api(answer).GET("/api/me")));

    expect(found).toEqual({
      code: "CONV_APPROVAL_EXPIRED",
      title: "Too late.",
      detail: "",
      status: 409,
      correlation_id: "cor-9",
      retry_after: null,
    });
  });

  test("of a proxy in between says that the service is not available", async () => {
    const answer = async () => new Response("<h1>Bad gateway</h1>", { status: 502 });

    const found = problemOf(await failure(api(answer).GET("/api/me")));

    expect(found).toMatchObject({ code: "SERVER_DOWN", status: 502 });
  });

  test("of the network says that nothing could be reached", async () => {
    const answer = () => Promise.reject(new TypeError("Failed to fetch"));

    const found = problemOf(await failure(api(answer).GET("/api/me")));

    expect(found).toMatchObject({ code: "UNREACHABLE", status: null });
  });

  test.each([undefined, null, "text", 7, {}, { code: "X" }])("is understood: %s", (error) => {
    expect(problemOf(error).title).not.toBe("");
  });

  test("means that a thing is missing when its id is wrong in any way", () => {
    expect(
      [404, 422, 403, 500, null].map((status) => isMissing({ ...problemOf(0), status })),
    ).toEqual([true, true, false, false, false]);
  });
});
