/** What any page of REST shows while the server does not answer. */

import { expect, test } from "vitest";
import { page } from "vitest/browser";
import { expectAccessible, openPage } from "../../tests-support/page";
import { fakeServer, json } from "../../tests-support/server";

const alert = () => page.getByRole("alert");

test("a server that cannot be reached is said, and tried again with a countdown", async () => {
  const server = fakeServer("lead");
  let down = true;
  const threads = server.routes["GET /api/threads"];
  server.routes["GET /api/threads"] = (url, request) => {
    if (down || threads === undefined) throw new TypeError("Failed to fetch");
    return threads(url, request);
  };
  await openPage(server, { path: "/replay" });

  await expect
    .element(alert(), { timeout: 8_000 })
    .toHaveTextContent("The service cannot be reached");
  await expect.element(alert()).toHaveTextContent(/Trying again in \d+ s/);
  await expectAccessible();
  down = false;

  await expect.element(page.getByText("No conversations yet"), { timeout: 9_000 }).toBeVisible();
  await expect.element(alert()).not.toBeInTheDocument();
}, 25_000);

test("too many requests are said quietly, with the server's own waiting time", async () => {
  const server = fakeServer("lead");
  server.routes["GET /api/health/details"] = () =>
    json(
      {
        type: "about:blank",
        title: "Too many requests.",
        status: 429,
        code: "RATE_LIMITED",
        correlation_id: "c",
        retry_after: 60,
      },
      429,
    );
  await openPage(server, { path: "/settings" });

  const said = page.getByRole("status").filter({ hasText: "Too many requests." });
  await expect.element(said).toHaveTextContent(/Trying again in (60|59) s/);
  await expectAccessible();
});

test("what the server refuses is not tried again by itself", async () => {
  const server = fakeServer("lead");
  server.routes["GET /api/health/details"] = () =>
    json(
      {
        type: "about:blank",
        title: "No.",
        status: 403,
        code: "AUTH_NOT_ALLOWED",
        correlation_id: "c",
      },
      403,
    );
  await openPage(server, { path: "/settings" });

  await expect.element(alert()).toHaveTextContent("No.");
  await expect.element(alert()).not.toHaveTextContent("Trying again");
});

test("a token that is no longer good leads back to the door", async () => {
  const server = fakeServer("lead");
  server.routes["GET /api/health/details"] = () => json({ code: "AUTH", title: "Sign in" }, 401);
  await openPage(server, { path: "/settings" });

  await expect.element(page.getByText("Your sign-in has expired")).toBeVisible();
});
