// Signs a payload with Stripe's own SDK. Reads {payload, secret, timestamp} from standard input
// and writes the value of the Stripe-Signature header.
import { readFileSync } from "node:fs";
import Stripe from "stripe";

const { payload, secret, timestamp } = JSON.parse(readFileSync(0, "utf8"));
// The key is never used: signing needs no call.
const stripe = new Stripe("sk_test_of_no_account");
process.stdout.write(stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp }));
