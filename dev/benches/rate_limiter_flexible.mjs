// The same measurement for rate-limiter-flexible's DynamoDB store. limits.rs runs it and counts the requests.
import { DynamoDB } from "@aws-sdk/client-dynamodb";
import { RateLimiterDynamo } from "rate-limiter-flexible";

const url = process.argv[2];
const RUN_MS = 3000;
const THINK_MS = 2;
const credentials = { accessKeyId: "local", secretAccessKey: "local" };
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function measure(instances, block) {
  const limiters = [];
  const calls = new Array(instances).fill(0);
  for (let instance = 0; instance < instances; instance++) {
    const storeClient = new DynamoDB({ endpoint: `${url}/${instance}`, region: "local", credentials, maxAttempts: 1 });
    storeClient.middlewareStack.add((next) => (args) => (calls[instance]++, next(args)), { step: "finalizeRequest" });
    const options = { storeClient, tableName: "rlf", points: 50, duration: 1, keyPrefix: `${block}-${instances}` };
    if (block) options.inMemoryBlockOnConsumed = 50;
    await new Promise((resolve, reject) => {
      const limiter = new RateLimiterDynamo(options, (error) => (error ? reject(error) : resolve()));
      limiters.push(limiter);
    });
  }
  const begun = performance.now();
  const decisions = [];
  await Promise.all(
    limiters.map(async (limiter, instance) => {
      while (performance.now() - begun < RUN_MS) {
        const [asked, before] = [performance.now() - begun, calls[instance]];
        const admitted = await limiter.consume("hot", 1).then(() => true, (refusal) => {
          if (refusal instanceof Error) throw refusal;
          return false;
        });
        decisions.push([performance.now() - begun, admitted, calls[instance] - before, asked]);
        await sleep(THINK_MS);
      }
    }),
  );
  const admitted = decisions.filter((decision) => decision[1]).sort((a, b) => a[0] - b[0]);
  const each = decisions.map((decision) => decision[2]).sort((a, b) => a - b);
  const refused = decisions.filter((decision) => !decision[1]).map((decision) => decision[2]);
  const mean = (list) => (list.reduce((a, b) => a + b, 0) / Math.max(1, list.length)).toFixed(2);
  let over = -Infinity;
  for (let first = 0; first < admitted.length; first++) {
    let asked = Infinity;
    for (let last = first; last < admitted.length; last++) {
      asked = Math.min(asked, admitted[last][3]);
      over = Math.max(over, last - first + 1 - 50 - (admitted[last][0] - asked) / 20);
    }
  }
  const name = block ? "rate-limiter-flexible, memory block" : "rate-limiter-flexible";
  const perSecond = (decisions.length / (RUN_MS / 1000)).toFixed(0);
  console.log(
    `| ${name} | one hot user | ${instances} | ${perSecond} | ${admitted.length} | ${over >= 0 ? "+" : ""}${over.toFixed(2)} | ` +
      `${mean(each)}, ${each[each.length >> 1]}, ${each.at(-1)} | ${mean(refused)} |`,
  );
}

for (const block of [false, true]) for (const instances of [1, 4, 16, 64]) await measure(instances, block);
