// Command twinhub is an IoT hub that speaks the contract of Azure IoT Hub, and the tools beside it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run())
}

// run executes the command line and returns the exit code: 0 done, 1 failed, 2 wrongly called.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	// A reader that goes away, such as head, makes the next write fail instead of ending the program on the spot: a demo
	// has devices to delete and a folder with keys to remove.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return exitCode(os.Stderr, rootCommand().ExecuteContext(ctx), ctx.Err() != nil)
}

// exitCode says on w what went wrong and what to do, and returns the exit code for it.
func exitCode(w io.Writer, err error, interrupted bool) int {
	var failed failure
	code, text := 1, ""
	switch {
	case err == nil:
		return 0
	case readerGone(err):
		return 1
	case !errors.As(err, &failed):
		code, text = 2, describe(err)
	case interrupted && errors.Is(err, context.Canceled):
		text = "interrupted"
	default:
		text = describe(err)
		if what := remedy(err); what != "" {
			text += "\n  what to do: " + what
		}
	}
	if _, err := fmt.Fprintln(w, "twinhub:", text); err != nil {
		return 1 // nobody listens
	}
	return code
}

// readerGone reports whether err says that what the program prints goes nowhere any more. There is nobody to tell.
func readerGone(err error) bool {
	var file *fs.PathError // sockets have another error
	return errors.As(err, &file) && errors.Is(file, syscall.EPIPE)
}

// describe returns an error's text, fit for a terminal; the lines of errors that were joined stay.
func describe(err error) string {
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		lines[i] = printable(line)
	}
	return strings.Join(lines, "\n  ")
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "twinhub",
		Short: "An IoT hub you run yourself, for devices and back ends written for Azure IoT Hub",
		Long: `twinhub speaks the contract of Azure IoT Hub with IoT Plug and Play, so that devices and back ends written for
Azure work against it with only the connection string and the trusted certificate authority changed.

See it work:  twinhub demo
Run a hub:    twinhub serve

The other commands talk to a hub, this one or Azure's. They find it by --login, else by --data FOLDER, else by the
environment (IOTHUB_CONNECTION_STRING; TWINHUB_ENDPOINTS and TWINHUB_CA_FILE for a hub on other ports or with a
certificate authority of its own), else by ./twinhub-data/connection.env, which serve writes.

Exit codes: 0 done, 1 failed, 2 wrongly called.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
		SilenceUsage:               true,
		SilenceErrors:              true,
		DisableFlagsInUseLine:      true,
		SuggestionsMinimumDistance: 2,
	}
	root.AddGroup(&cobra.Group{ID: "hub", Title: "Run a hub:"}, &cobra.Group{ID: "setup", Title: "Set up clients:"}, &cobra.Group{ID: "client", Title: "Talk to a hub:"})
	in := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
		}
		root.AddCommand(commands...)
	}
	in("hub", demoCommand(), serveCommand())
	in("setup", envCommand(), trustCommand(), doctorCommand())
	in("client", deviceCommand(), twinCommand(), digitalTwinCommand(), methodCommand(), monitorEventsCommand(), sendCommand())
	root.AddCommand(versionCommand())
	guard(root)
	return root
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use:   use,
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return usageError{fmt.Errorf("%q needs a command: see %s --help", cmd.CommandPath(), cmd.CommandPath())}
		},
		DisableFlagsInUseLine:      true,
		SuggestionsMinimumDistance: 2,
	}
	c.AddCommand(commands...)
	return c
}

// unknownCommand says that cmd has no command of that name, and which it may have meant.
func unknownCommand(cmd *cobra.Command, name string) error {
	hint := "see " + cmd.CommandPath() + " --help"
	if similar := cmd.SuggestionsFor(name); len(similar) > 0 {
		hint = "did you mean " + strings.Join(similar, " or ") + "?"
	}
	return usageError{fmt.Errorf("unknown command %q for %q: %s", name, cmd.CommandPath(), hint)}
}

// guard marks as a failure what goes wrong once a command is running; what goes wrong before is a wrong call.
func guard(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		guard(c)
	}
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			err := run(cmd, args)
			if err == nil || isUsage(err) {
				return err
			}
			return failure{err}
		}
	}
}

// usageError is a wrong call of the program.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func isUsage(err error) bool {
	var e usageError
	return errors.As(err, &e)
}

// failure is what went wrong in a command that was called rightly.
type failure struct{ error }

func (e failure) Unwrap() error { return e.error }
