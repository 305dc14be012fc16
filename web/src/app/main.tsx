import "./styles.css";

import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { paths } from "@/lib/paths";
import { createQueries } from "./queries";
import { createPages } from "./router";

const ENTRY: ReadonlySet<string> = new Set([paths.login, paths.forgotPassword, paths.resetPassword, paths.verifyEmail]);

const queries = createQueries(() => {
  const { pathname, search } = globalThis.location;
  // By a full load: nothing that was shown or kept for this login survives it.
  if (!ENTRY.has(pathname)) globalThis.location.assign(`${paths.login}?${new URLSearchParams({ return: pathname + search })}`);
});
const router = createPages(queries);

// A page that the browser kept for its back button may be of a login that ended since.
globalThis.addEventListener("pageshow", (event) => {
  if (event.persisted) globalThis.location.reload();
});

const element = document.getElementById("root");
if (element === null) throw new Error("the page has no root");
createRoot(element).render(
  <StrictMode>
    <QueryClientProvider client={queries}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  </StrictMode>,
);
