package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/twinhub/twinhub/service"
)

func methodCommand() *cobra.Command {
	return group("method", "Call direct methods", methodInvokeCommand())
}

func methodInvokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "invoke",
		Short:   "Call a direct method of a device or a module",
		Long:    "Call a direct method and print the device's answer. Whatever status the device answers with, the call itself went well.",
		Example: `  twinhub method invoke -d controller-1 --method-name reboot --method-payload '{"delay": 3}' --timeout 10`,
		Args:    cobra.NoArgs,
	}
	hub := addHubFlags(cmd)
	id, module, call := addDeviceID(cmd, hub), addModuleID(cmd), addCallFlags(cmd, "method-payload", "timeout")
	method := cmd.Flags().String("method-name", "", "`name` of the method")
	out := addOutput(cmd)
	require(cmd, "method-name")
	cmd.RunE = call.run(hub, out, func(ctx context.Context, c *service.Client, payload any, o *service.CallOptions) (*service.MethodResult, error) {
		return c.InvokeModuleMethod(ctx, *id, *module, *method, payload, o)
	})
	return cmd
}
