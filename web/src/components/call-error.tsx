import { ApiError } from "@/api/problem";
import { ErrorAlert } from "./ui/form";

/** What went wrong with a call that no form made: what is wrong with its fields is said here too. */
export function CallError({ error }: { error: Error | null }) {
  if (!(error instanceof ApiError)) return <ErrorAlert error={error} />;
  const { status, code, title, detail, retryAfter, requestId } = error;
  return <ErrorAlert error={new ApiError(status, code, title, detail, {}, retryAfter, requestId)} />;
}
